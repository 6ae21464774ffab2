//! Filters, orders and pages over statuses that were made up.

use std::cell::RefCell;
use std::sync::Arc;

use twinlog_proto::{model, v1};

use super::*;

fn mirror(id: &str, source: &str) -> MirrorState {
    let wire = v1::Mirror {
        name: format!("mirrors/{id}"),
        source: format!("clusters/{source}"),
        target: "clusters/t".to_owned(),
        topics: vec!["x".to_owned()],
        desired_state: v1::DesiredState::Running.into(),
        ..Default::default()
    };
    let model = Arc::new(model::Mirror::parse(&wire).unwrap());
    MirrorState { wire, model, create_revision: 1, mod_revision: 1 }
}

/// Four mirrors: a is active without lag, b is degraded and 5 behind, c at least 70 behind, d can't be known.
fn look(mirror: &MirrorState) -> v1::MirrorStatus {
    let (state, lag_records, lag_at_least, reason) = match mirror.model.id.as_str() {
        "a" => (v1::State::Active, Some(0), false, "LOOP"),
        "b" => (v1::State::Degraded, Some(5), false, "RECORD_TOO_LARGE"),
        "c" => (v1::State::Stopped, Some(70), true, "CLUSTER_UNREACHABLE"),
        _ => (v1::State::Unknown, None, true, "WORKER_NOT_BACK"),
    };
    v1::MirrorStatus {
        state: state.into(),
        causes: vec![v1::Cause { reason: reason.to_owned(), ..Default::default() }],
        totals: Some(v1::Totals { lag_records, lag_at_least, ..Default::default() }),
        ..bare(mirror)
    }
}

fn request(filter: &str, order_by: &str) -> v1::ListMirrorStatusesRequest {
    v1::ListMirrorStatusesRequest {
        parent: "mirrors/-".to_owned(),
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        ..Default::default()
    }
}

/// Ids in the list's order, and of whom the status was worked out.
fn list(request: &v1::ListMirrorStatusesRequest) -> (String, String, String) {
    let mirrors = [("a", "eu-1"), ("b", "eu-2"), ("c", "us"), ("d", "us")].map(|(id, s)| mirror(id, s));
    let looked = RefCell::new(String::new());
    let response = Listing::parse(request).unwrap().list(mirrors.iter(), |mirror| {
        looked.borrow_mut().push_str(mirror.model.id.as_str());
        look(mirror)
    });
    let id = |status: &v1::MirrorStatus| {
        let id = status.name.strip_prefix("mirrors/").and_then(|name| name.strip_suffix("/status"));
        id.unwrap().to_owned()
    };
    (response.mirror_statuses.iter().map(id).collect(), looked.into_inner(), response.next_page_token)
}

#[test]
fn a_filter_takes_what_it_says() {
    for (filter, fits) in [
        ("", "abcd"),
        ("mirror = b", "b"),
        ("mirror=mirrors/b", "b"),
        ("source = \"clusters/eu-*\"", "ab"),
        ("source = *-2 OR source = us", "bcd"),
        ("target = 't' AND mirror != a", "bcd"),
        ("state != ACTIVE", "bcd"),
        ("state = DEGRADED OR state = STOPPED AND source = us", "c"),
        ("causes.reason:LOOP", "a"),
        ("causes.reason : *_*", "bcd"),
        ("totals.lag_records >= 5", "bc"),
        ("totals.lag_records > 5", "c"),
        // Of c and d nobody knows that.
        ("totals.lag_records < 100", "ab"),
        ("totals.lag_records != 5", "a"),
        ("totals.lag_records = 70", ""),
        ("totals.lag_records <= 0", "a"),
    ] {
        assert_eq!(list(&request(filter, "")).0, fits, "{filter}");
    }
}

#[test]
fn an_order_is_kept_in_either_direction_and_what_is_not_known_is_last() {
    for (order, ids) in [
        ("", "abcd"),
        ("mirror desc", "dcba"),
        ("source desc", "cdba"),
        ("source desc, mirror desc", "dcba"),
        ("target,mirror  desc ", "dcba"),
        ("state", "abcd"),
        ("state desc", "dcba"),
        ("totals.lag_records", "abcd"),
        ("totals.lag_records desc", "cbad"),
    ] {
        assert_eq!(list(&request("", order)).0, ids, "{order}");
    }
}

#[test]
fn pages_join_in_every_order() {
    for order in ["", "mirror desc", "source desc", "totals.lag_records desc", "state desc,source"] {
        let all = list(&request("", order)).0;
        let (mut joined, mut page_token) = (String::new(), String::new());
        loop {
            let page = v1::ListMirrorStatusesRequest { page_size: 1, page_token, ..request("", order) };
            let (ids, _, next) = list(&page);
            joined += &ids;
            page_token = next;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(joined, all, "{order}");
    }
}

#[test]
fn a_status_is_worked_out_only_where_the_page_needs_it() {
    let two = |filter, order| v1::ListMirrorStatusesRequest { page_size: 2, ..request(filter, order) };
    // The third shows that there is a next page.
    assert_eq!(list(&two("", "")).1, "abc");
    assert_eq!(list(&two("", "mirror desc")).1, "dcb");
    assert_eq!(list(&two("source = us", "")).1, "cd");
    assert_eq!(list(&two("source = us AND state = UNKNOWN", "")).1, "cd");
    let next = v1::ListMirrorStatusesRequest { page_token: list(&two("", "")).2, ..two("", "") };
    assert_eq!(list(&next).1, "cd", "nothing of earlier pages");
    assert_eq!(list(&two("", "totals.lag_records")).1, "abcd", "who is first can't be known otherwise");
}

#[test]
fn what_is_not_understood_is_refused_with_the_remedy() {
    for (filter, says) in [
        ("colour = red", "there is no field \"colour\": there are mirror, source"),
        ("state = RED", "there are PENDING, ACTIVE"),
        ("state > ACTIVE", "state takes = and !="),
        ("causes.reason != LOOP", "takes : and ="),
        ("totals.lag_records : 5", "takes = != <"),
        ("totals.lag_records > many", "\"many\" is no number"),
        ("state = ACTIVE state = STOPPED", "AND or OR is missing before \"state = STOPPED\""),
        ("state = ACTIVE AND", "nothing follows the last AND"),
        ("NOT state = ACTIVE", "use != instead"),
        ("(state = ACTIVE)", "OR binds closer"),
        ("state ! ACTIVE", "is no operator"),
        ("state = \"ACTIVE", "doesn't end"),
        ("state", "needs an operator"),
        ("state =", "compared with nothing"),
        ("= ACTIVE", "begins with a field"),
    ] {
        let what = Filter::parse(filter).unwrap_err();
        assert!(what.contains(says), "{filter}: {what}");
    }
    for (order, says) in [
        ("lag", "\"lag\" is no field to order by: mirror"),
        ("causes.reason", "no field to order by"),
        ("mirror down", "write mirror or mirror desc"),
        ("mirror desc desc", "write mirror"),
        ("state,", "\"\" is no field"),
        ("state,state desc", "twice"),
    ] {
        let what = Order::parse(order).err().unwrap();
        assert!(what.contains(says), "{order}: {what}");
    }
}
