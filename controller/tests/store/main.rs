//! The store's promises, kept by both implementations: one suite, run against the embedded store and a real etcd.

#![allow(clippy::unwrap_used)]

mod backend;
mod embedded;
mod etcd;
mod etcd_history;
mod etcd_members;
mod etcd_process;
mod full;
mod suite;

/// Runs each case of the suite against a backend.
macro_rules! conformance {
    ($backend:ident: $($case:ident),* $(,)?) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::suite::$case(crate::backend::$backend().await).await;
                }
            )*
        }
    };
}

macro_rules! both {
    ($($case:ident),* $(,)?) => {
        mod on {
            conformance!(embedded: $($case),*);
            conformance!(etcd: $($case),*);
        }
    };
}

both!(
    a_list_is_sorted_complete_and_limited_to_its_prefix,
    one_key_is_read_as_it_is_now,
    guards_decide_whether_anything_is_written,
    revisions_grow_and_tell_creation_from_change,
    a_watch_delivers_past_and_future_in_order,
    a_watch_resumes_where_it_ended,
    a_compacted_past_is_an_error,
    a_future_that_has_not_happened_is_an_error,
    what_was_seen_elsewhere_moves_everything_on,
    transactions_have_limits,
    one_leads_and_the_next_takes_over_at_once_after_a_resignation,
    a_leadership_whose_key_is_gone_is_lost,
    a_leadership_that_nobody_renews_runs_out,
    a_deposed_leader_writes_nothing,
    the_leader_can_be_observed,
    a_withdrawn_candidate_leaves_nothing_behind,
    the_cache_follows_and_lists_again_after_compaction,
);
