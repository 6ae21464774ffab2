//! `twinlog mirror gaps`.

use std::time::SystemTime;

use twinlog_proto::v1;

use super::super::connect::Connection;
use super::super::failure::Failure;
use super::super::human;
use super::super::output::{Output, Table, json};

/// Gaps in one call.
const PAGE_SIZE: i32 = 1_000;

pub(super) async fn execute(id: &str, connection: Connection, output: &Output) -> Result<(), Failure> {
    let mut request = v1::ListGapsRequest {
        parent: super::name(id),
        page_size: PAGE_SIZE,
        ..v1::ListGapsRequest::default()
    };
    let mut all = v1::ListGapsResponse::default();
    loop {
        let page = connection.mirrors().list_gaps(request.clone()).await?.into_inner();
        all.gaps.extend(page.gaps);
        all.ranges_unknown = page.ranges_unknown;
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    output.show(json("ListGapsResponse", &all), || table(id, &all, SystemTime::now()))
}

fn table(id: &str, all: &v1::ListGapsResponse, now: SystemTime) -> String {
    let mut table = Table::new([
        "SOURCE TOPIC",
        "PARTITION",
        "FIRST OFFSET",
        "LAST OFFSET",
        "OFFSETS",
        "REASON",
        "FOUND",
    ]);
    for v1::MirrorGap { source_topic, partition, gap, .. } in &all.gaps {
        let gap = gap.unwrap_or_default();
        table.row([
            source_topic.clone(),
            partition.to_string(),
            human::count(gap.first_offset),
            human::count(gap.end_offset - 1),
            human::count(gap.end_offset - gap.first_offset),
            human::state(gap.reason().short_name()),
            human::ago(gap.time, now),
        ]);
    }
    let mut text = match table.is_empty() {
        true => format!("mirror {id} has no gaps that are known\n"),
        false => table.render(),
    };
    if all.ranges_unknown > 0 {
        text.push_str(&format!("of {} ranges nothing, or not all, is known now\n", all.ranges_unknown));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_rows_and_what_is_not_known_is_said() {
        let gap = v1::Gap {
            first_offset: 100,
            end_offset: 150,
            reason: v1::gap::Reason::Retention.into(),
            ..v1::Gap::default()
        };
        let gap = v1::MirrorGap {
            source_topic: "orders".into(),
            partition: 3,
            gap: Some(gap),
            ..Default::default()
        };
        let all = v1::ListGapsResponse { gaps: vec![gap], ranges_unknown: 2, ..Default::default() };
        let text = table("m", &all, SystemTime::now());
        for part in ["orders", "100", "149", "50", "retention", "of 2 ranges"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let none = table("m", &v1::ListGapsResponse::default(), SystemTime::now());
        assert_eq!(none, "mirror m has no gaps that are known\n");
    }
}
