//! Pages of a list: at most `page_size` items, and a token from which the next page goes on. A page begins after the last
//! key of the one before, so items that come and go in between are neither repeated nor skipped.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use twinlog_proto::reason::Reason;

use crate::refusal::{Refusal, invalid};

const DEFAULT_PAGE_SIZE: usize = 100;
/// Larger requests get this many.
const MAX_PAGE_SIZE: usize = 1_000;
/// Of items whose size isn't bounded otherwise a page takes so many bytes: clients take messages of 4 MiB.
pub(crate) const MAX_PAGE_BYTES: usize = 2 << 20;

/// Which items a request wants.
pub(crate) struct Page {
    /// What is listed: a token of one list is no token of another.
    list: String,
    after: Option<String>,
    size: usize,
}

impl Page {
    /// INVALID_FIELD, INVALID_PAGE_TOKEN.
    pub(crate) fn new(list: impl Into<String>, size: i32, token: &str) -> Result<Self, Refusal> {
        let list = list.into();
        let size = match checked("page_size", size)? {
            0 => DEFAULT_PAGE_SIZE,
            size => size.min(MAX_PAGE_SIZE),
        };
        let after = after("page_token", &list, token)?;
        Ok(Self { list, after, size })
    }

    /// Of a status's topics: all of them, unless a size is given. INVALID_FIELD, INVALID_PAGE_TOKEN.
    pub(crate) fn of_topics(list: impl Into<String>, size: i32, token: &str) -> Result<Self, Refusal> {
        let list = list.into();
        let size = match checked("topic_page_size", size)? {
            0 => usize::MAX,
            size => size,
        };
        let after = after("topic_page_token", &list, token)?;
        Ok(Self { list, after, size })
    }

    pub(crate) fn is_first(&self) -> bool {
        self.after.is_none()
    }

    /// Whether what has this key is not on an earlier page.
    pub(crate) fn is_ahead(&self, key: &str) -> bool {
        self.after.as_deref().is_none_or(|after| key > after)
    }

    /// Cuts the page out of items that are sorted by their key; returns it with the token of the next.
    pub(crate) fn cut<T>(
        self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, String) {
        self.cut_within(MAX_PAGE_BYTES, items, key, |_| 0)
    }

    /// Also ends the page where its items would take more than so many bytes; one is always in it.
    pub(crate) fn cut_within<T>(
        self,
        mut room: usize,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
        bytes: impl Fn(&T) -> usize,
    ) -> (Vec<T>, String) {
        let mut page: Vec<T> = Vec::new();
        for item in items {
            if !self.is_ahead(&key(&item)) {
                continue;
            }
            let left = room.checked_sub(bytes(&item));
            if let Some(last) = page.last().filter(|_| page.len() >= self.size || left.is_none()) {
                let token = URL_SAFE_NO_PAD.encode(format!("{}\n{}", self.list, key(last)));
                return (page, token);
            }
            room = left.unwrap_or(0);
            page.push(item);
        }
        (page, String::new())
    }
}

fn checked(field: &str, size: i32) -> Result<usize, Refusal> {
    usize::try_from(size).map_err(|_| invalid(field, format!("{size} is negative")))
}

/// The key after which the page begins; `None`: it is the first one.
fn after(field: &str, list: &str, token: &str) -> Result<Option<String>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.split_once('\n')) {
        Some((of, last)) if of == list => Ok(Some(last.to_owned())),
        _ => {
            let what = format!(
                "{token:?} is no token of this list: use next_{field} of the page before, with the same request"
            );
            Err(Refusal::of_fields(Reason::INVALID_PAGE_TOKEN, vec![(field.to_owned(), what)]))
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
    fn a_page_ends_where_its_items_are_too_large() {
        let keyed = |token: &str| {
            let items = [(1, 1_usize), (2, 4), (3, 3), (4, 9), (5, 2)];
            Page::of_topics("n", 0, token).unwrap().cut_within(5, items, |i| i.0.to_string(), |i| i.1)
        };
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) = keyed(&token);
            pages.push(page.into_iter().map(|(n, _)| n).collect::<Vec<i32>>());
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(pages, [vec![1, 2], vec![3], vec![4], vec![5]], "what is too large stands alone");
    }

    #[test]
    fn a_foreign_token_is_refused() {
        let (_, token) = page(1, "", &["a", "b"]);
        for (list, token) in [("other", token.as_str()), ("letters", "%%%"), ("letters", "YQ")] {
            let refusal = Page::new(list, 1, token).err().unwrap();
            assert_eq!(refusal.reason.as_str(), "INVALID_PAGE_TOKEN");
        }
    }
}
