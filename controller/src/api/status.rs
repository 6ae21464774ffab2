//! Statuses as clients ask for them: one with its topics page by page.

use prost::Message;
use tonic::Status;
use twinlog_proto::id::MirrorId;
use twinlog_proto::v1;

use super::Api;
use crate::catalog::mirror_id;
use crate::page::{MAX_PAGE_BYTES, Page};
use crate::refusal::Refusal;

impl Api {
    /// INVALID_FIELD, INVALID_PAGE_TOKEN, MIRROR_NOT_FOUND, NO_LEADER.
    pub(super) fn status(&self, request: v1::GetMirrorStatusRequest) -> Result<v1::MirrorStatus, Status> {
        let v1::GetMirrorStatusRequest { name, topic_page_size, topic_page_token } = request;
        let id = status_id(&name)?;
        let page = Page::of_topics(format!("mirrors/{id}/status"), topic_page_size, &topic_page_token)?;
        let status = self.controller.informed()?.mirror_status(&id)?;
        Ok(with_page(status, page))
    }
}

/// Of `mirrors/{id}/status`, and of `mirrors/{id}`, which clients use that are older than this name.
fn status_id(name: &str) -> Result<MirrorId, Refusal> {
    mirror_id("name", name.strip_suffix("/status").unwrap_or(name))
}

/// Leaves the topics of one page.
fn with_page(mut status: v1::MirrorStatus, page: Page) -> v1::MirrorStatus {
    // Topics' names hold no blank, and nothing that sorts before it.
    let key = |topic: &v1::TopicStatus| format!("{} {}", topic.target_topic, topic.source_topic);
    let mut topics = std::mem::take(&mut status.topics);
    topics.sort_by_cached_key(key);
    if !page.is_first() {
        status.groups.clear();
        (status.groups_time, status.groups_left_out) = (None, 0);
    }
    let (topics, next_topic_page_token) =
        page.cut_within(MAX_PAGE_BYTES, topics, key, v1::TopicStatus::encoded_len);
    v1::MirrorStatus { topics, next_topic_page_token, ..status }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(topics: usize, note: usize) -> v1::MirrorStatus {
        let topic = |n: usize| v1::TopicStatus {
            source_topic: format!("t{n:05}"),
            target_topic: format!("a.t{n:05}"),
            note: "x".repeat(note),
            ..Default::default()
        };
        let group = v1::GroupStatus { group: "g".to_owned(), ..Default::default() };
        v1::MirrorStatus {
            topics: (0..topics).map(topic).collect(),
            groups: vec![group],
            topic_count: i32::try_from(topics).unwrap(),
            ..Default::default()
        }
    }

    fn page(of: &v1::MirrorStatus, size: i32, token: &str) -> v1::MirrorStatus {
        with_page(of.clone(), Page::of_topics("mirrors/m/status", size, token).unwrap())
    }

    #[test]
    fn pages_of_topics_join_and_groups_come_once() {
        let all = status(25, 0);
        let (mut topics, mut groups, mut token) = (Vec::new(), 0, String::new());
        loop {
            let page = page(&all, 10, &token);
            assert!(page.topics.len() <= 10);
            assert_eq!(page.topic_count, 25);
            topics.extend(page.topics);
            groups += page.groups.len();
            token = page.next_topic_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((topics, groups), (all.topics, 1));
    }

    /// Who knows of no pages gets what he always got, as long as a client takes it.
    #[test]
    fn all_topics_come_at_once_as_long_as_they_fit_into_a_message() {
        let all = page(&status(10_000, 0), 0, "");
        assert_eq!((all.topics.len(), all.next_topic_page_token.as_str()), (10_000, ""));
        let first = page(&status(10_000, 1_000), 0, "");
        assert!(first.encoded_len() < 3 << 20, "{} bytes", first.encoded_len());
        assert!(!first.next_topic_page_token.is_empty());
    }

    #[test]
    fn a_status_has_a_name_of_its_own_and_its_mirrors() {
        for name in ["mirrors/m", "mirrors/m/status"] {
            assert_eq!(status_id(name).unwrap().as_str(), "m");
        }
        for name in ["m", "mirrors/", "mirrors/m/status/status", "mirrors/m/ranges", "mirrors/-/status/"] {
            assert!(status_id(name).is_err(), "{name}");
        }
    }
}
