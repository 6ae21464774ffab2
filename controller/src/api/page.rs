//! Pages of a list: at most `page_size` items, and a token from which the next page goes on. A page begins after the last
//! key of the one before, so items that come and go in between are neither repeated nor skipped.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;
use twinlog_proto::reason::{self, Reason};

use crate::catalog::invalid;

const DEFAULT_PAGE_SIZE: usize = 100;
/// Larger requests get this many.
const MAX_PAGE_SIZE: usize = 1_000;

/// Which items a request wants.
pub(super) struct Page {
    /// What is listed: a token of one list is no token of another.
    list: String,
    after: Option<String>,
    size: usize,
}

impl Page {
    /// INVALID_FIELD, INVALID_PAGE_TOKEN.
    pub(super) fn new(list: impl Into<String>, size: i32, token: &str) -> Result<Self, Status> {
        let list = list.into();
        let size = match usize::try_from(size) {
            Ok(0) => DEFAULT_PAGE_SIZE,
            Ok(size) => size.min(MAX_PAGE_SIZE),
            Err(_) => return Err(invalid("page_size", format!("{size} is negative"))),
        };
        let after = if token.is_empty() { None } else { Some(after(&list, token)?) };
        Ok(Self { list, after, size })
    }

    /// Cuts the page out of items that are sorted by their key; returns it with the token of the next.
    pub(super) fn cut<T>(
        self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, String) {
        let Self { list, after, size } = self;
        let wanted = |item: &T| after.as_ref().is_none_or(|after| key(item) > *after);
        let mut page: Vec<T> = items.into_iter().filter(wanted).take(size + 1).collect();
        if page.len() <= size {
            return (page, String::new());
        }
        page.truncate(size);
        let last = page.last().map(&key).unwrap_or_default();
        (page, URL_SAFE_NO_PAD.encode(format!("{list}\n{last}")))
    }
}

fn after(list: &str, token: &str) -> Result<String, Status> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.split_once('\n')) {
        Some((of, last)) if of == list => Ok(last.to_owned()),
        _ => {
            let what = format!(
                "{token:?} is no token of this list: use next_page_token of the page before, with the same request"
            );
            Err(reason::bad_request(Reason::INVALID_PAGE_TOKEN, &[("page_token".to_owned(), what)]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(size: i32, token: &str, items: &[&str]) -> (Vec<String>, String) {
        let items = items.iter().map(|s| (*s).to_owned());
        Page::new("letters", size, token).unwrap().cut(items, String::clone)
    }

    #[test]
    fn pages_join_without_gap_although_items_come_and_go() {
        let (first, token) = page(2, "", &["a", "b", "c", "d"]);
        assert_eq!(first, ["a", "b"]);
        let (second, token) = page(2, &token, &["a", "bb", "c", "d"]);
        assert_eq!(second, ["bb", "c"]);
        let (last, token) = page(2, &token, &["d"]);
        assert_eq!((last, token), (vec!["d".to_owned()], String::new()));
    }

    #[test]
    fn sizes_are_bounded() {
        let many: Vec<String> = (0..1500).map(|i| format!("{i:05}")).collect();
        let cut = |size| Page::new("n", size, "").unwrap().cut(many.clone(), String::clone).0.len();
        assert_eq!((cut(0), cut(5000)), (DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE));
        assert!(Page::new("n", -1, "").is_err());
    }

    #[test]
    fn a_foreign_token_is_refused() {
        let (_, token) = page(1, "", &["a", "b"]);
        for (list, token) in [("other", token.as_str()), ("letters", "%%%"), ("letters", "YQ")] {
            let status = Page::new(list, 1, token).err().unwrap();
            assert_eq!(reason::reason_of(&status).unwrap(), "INVALID_PAGE_TOKEN");
        }
    }
}
