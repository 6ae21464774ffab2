//! `twinlog offsets`

use clap::Subcommand;
use twinlog_proto::v1;

use super::connect::Connection;
use super::failure::Failure;
use super::human;
use super::output::{Output, Table, json};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Translate a group's committed offsets, or given ones, to the target, exactly
    #[command(after_help = "Examples:\n  twinlog offsets translate orders --group billing\n  \
                            twinlog offsets translate orders --offset orders:3:12345 --offset orders:4:20000")]
    Translate {
        /// The mirror's id
        mirror: String,
        /// A consumer group of the source cluster
        #[arg(long, value_name = "GROUP", required_unless_present = "offsets", conflicts_with = "offsets")]
        group: Option<String>,
        /// An offset on the source. Repeat it
        #[arg(long = "offset", value_name = "TOPIC:PARTITION:OFFSET", value_parser = source_offset)]
        offsets: Vec<v1::SourceOffset>,
    },
}

fn source_offset(text: &str) -> Result<v1::SourceOffset, String> {
    let parsed = text.rsplit_once(':').and_then(|(rest, offset)| {
        let (topic, partition) = rest.rsplit_once(':')?;
        Some(v1::SourceOffset {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| "it must look like TOPIC:PARTITION:OFFSET".to_owned())
}

pub(super) async fn execute(
    command: Command,
    connection: Connection,
    output: &Output,
) -> Result<(), Failure> {
    let Command::Translate { mirror, group, offsets } = command;
    let request = v1::TranslateOffsetsRequest {
        mirror: format!("mirrors/{mirror}"),
        group: group.unwrap_or_default(),
        offsets,
    };
    let translated = connection.offsets().translate_offsets(request).await?.into_inner();
    output.show(json("TranslateOffsetsResponse", &translated), || table(&translated.offsets))
}

fn table(offsets: &[v1::TranslatedOffset]) -> String {
    if offsets.is_empty() {
        return "the group has no committed offsets".to_owned();
    }
    let mut table =
        Table::new(["SOURCE TOPIC", "PARTITION", "SOURCE OFFSET", "TARGET TOPIC", "TARGET OFFSET", "NOTE"]);
    for offset in offsets {
        let note = match (&*offset.reason, &*offset.message) {
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        };
        table.row([
            offset.source_topic.clone(),
            offset.partition.to_string(),
            human::count(offset.source_offset),
            offset.target_topic.clone(),
            offset.target_offset.map(human::count).unwrap_or_default(),
            note,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_from_the_right() {
        let offset = source_offset("a:b:3:12").unwrap();
        assert_eq!((offset.topic.as_str(), offset.partition, offset.offset), ("a:b", 3, 12));
        assert!(source_offset("a:3").is_err() && source_offset("a:x:1").is_err());
    }
}
