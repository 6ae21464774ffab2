//! The list of statuses: which mirrors a page of it holds, and in which order.
//!
//! A status is worked out only where the page needs it: what a filter says of names is looked at first, and in an order of names
//! the work ends with the page.

mod filter;
mod order;

use prost::Message;
use tokio::sync::Semaphore;
use twinlog_proto::id::stable_hash;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::fleet::{Summaries, bare};
use crate::page::{MAX_PAGE_BYTES, Page};
use crate::refusal::{Refusal, invalid};
use crate::replica::Informed;
use crate::state::MirrorState;
use filter::Filter;
use order::Order;

/// Of all mirrors: there is nothing else that statuses can be listed of.
const PARENT: &str = "mirrors/-";
/// Bytes of `filter` and of `order_by`, each.
const MAX_EXPRESSION: usize = 1_000;
/// Pages that are worked out at the same time: one of many mirrors takes a processor for a while. Others wait.
const MAX_PAGES: usize = 2;

static PAGES: Semaphore = Semaphore::const_new(MAX_PAGES);

/// What can be asked of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Mirror,
    Source,
    Target,
    State,
    Reason,
    Lag,
}

impl Field {
    const ALL: [(&'static str, Self); 6] = [
        ("mirror", Self::Mirror),
        ("source", Self::Source),
        ("target", Self::Target),
        ("state", Self::State),
        ("causes.reason", Self::Reason),
        ("totals.lag_records", Self::Lag),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// It is known of a mirror that nobody has looked at.
    fn is_a_name(self) -> bool {
        matches!(self, Self::Mirror | Self::Source | Self::Target)
    }
}

/// What a request asks for.
pub(crate) struct Listing {
    filter: Filter,
    order: Order,
    page: Page,
}

impl Listing {
    /// INVALID_FIELD, INVALID_PAGE_TOKEN.
    pub(crate) fn parse(request: &v1::ListMirrorStatusesRequest) -> Result<Self, Refusal> {
        let v1::ListMirrorStatusesRequest { parent, page_size, page_token, filter, order_by } = request;
        if parent != PARENT {
            let what = format!("{parent:?} must be {PARENT:?}; the status of one mirror is GetMirrorStatus");
            return Err(invalid("parent", what));
        }
        for (field, text) in [("filter", filter), ("order_by", order_by)] {
            if text.len() > MAX_EXPRESSION {
                let what = format!("{} bytes are more than {MAX_EXPRESSION}: ask for less", text.len());
                return Err(invalid(field, what));
            }
        }
        let asked = stable_hash(format!("{filter}\n{order_by}").as_bytes());
        Ok(Self {
            filter: Filter::parse(filter).map_err(|what| invalid("filter", what))?,
            order: Order::parse(order_by).map_err(|what| invalid("order_by", what))?,
            page: Page::new(format!("{PARENT}/status {asked:x}"), *page_size, page_token)?,
        })
    }

    /// `look`: works a mirror's status out.
    fn list<'a>(
        self,
        mirrors: impl Iterator<Item = &'a MirrorState>,
        look: impl Fn(&MirrorState) -> v1::MirrorStatus,
    ) -> v1::ListMirrorStatusesResponse {
        let Self { filter, order, page } = self;
        let candidates = mirrors.map(|mirror| (bare(mirror), mirror));
        let candidates = candidates.filter(|(bare, _)| filter.may_take(bare));
        let look = |mirror| Some(look(mirror)).filter(|status| filter.takes(status));
        let (page, next_page_token) = if order.is_of_names() {
            let mut ahead: Vec<_> = candidates
                .map(|(bare, mirror)| (order.key(&bare), mirror))
                .filter(|(key, _)| page.is_ahead(key))
                .collect();
            ahead.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            cut(page, ahead.into_iter().filter_map(|(key, mirror)| Some((key, look(mirror)?))))
        } else {
            let looked = candidates.filter_map(|(_, mirror)| look(mirror));
            let mut all: Vec<_> = looked.map(|status| (order.key(&status), status)).collect();
            all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            cut(page, all)
        };
        let mirror_statuses = page.into_iter().map(|(_, status)| status).collect();
        v1::ListMirrorStatusesResponse { mirror_statuses, next_page_token }
    }
}

type Keyed = (String, v1::MirrorStatus);

fn cut(page: Page, sorted: impl IntoIterator<Item = Keyed>) -> (Vec<Keyed>, String) {
    page.cut_within(MAX_PAGE_BYTES, sorted, |(key, _)| key.clone(), |(_, status)| status.encoded_len())
}

impl Informed {
    /// A page as this replica knows it.
    pub(crate) async fn mirror_statuses(
        self,
        listing: Listing,
    ) -> Result<v1::ListMirrorStatusesResponse, Refusal> {
        let _permit = PAGES.acquire().await.map_err(|_| stopped())?;
        // Off the runtime: it may take some time.
        let page = tokio::task::spawn_blocking(move || {
            let shared = self.shared();
            let (state, away) = (shared.cache.snapshot(), shared.cache.away());
            let summaries = Summaries::new(&shared.fleet, &state);
            listing.list(state.mirrors.values().map(AsRef::as_ref), |mirror| {
                let mut status = summaries.of(mirror);
                status.causes.extend(away.as_ref().map(|away| away.cause()));
                status
            })
        });
        page.await.map_err(|_| stopped())
    }
}

fn stopped() -> Refusal {
    Refusal::new(
        Reason::INTERNAL,
        "the list of statuses could not be made; the controller's log says why",
        &[],
    )
}

#[cfg(test)]
mod tests;
