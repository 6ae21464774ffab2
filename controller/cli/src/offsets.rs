//! `twinlog offsets`

use std::time::SystemTime;

use clap::Subcommand;
use twinlog_proto::v1;
use twinlog_proto::v1::translate_offsets_request::Direction;

use super::connect::Connection;
use super::failure::{Failure, Kind};
use super::human;
use super::output::{Output, Table, json, print};

const EXAMPLES: &str = "\
Examples:
  # Failing over: where does a group of the source go on, on the target?
  twinlog offsets translate orders --group billing
  twinlog offsets translate orders --offset orders:3:12345 --offset orders:4:20000

  # Failing back: where does a group that went on at the target go on, on the source? Nothing is written.
  twinlog offsets translate orders --group billing --to-source

Setting the group there is Kafka's own tool's work. It refuses while the group has members, and --dry-run shows what it would do:
  1. Stop the group's consumers on the target, then take their last positions:
     twinlog offsets translate orders --group billing --to-source --csv > billing.csv
  2. kafka-consumer-groups.sh --bootstrap-server SOURCE:9092 --group billing --reset-offsets --from-file billing.csv --dry-run
  3. The same with --execute, and start the consumers on the source.

A mirror does both by itself, for groups that are idle there: twinlog mirror update --help, --sync-group-offsets (to the target) and
--sync-group-offsets-to-source.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Translate a group's committed offsets, or given ones, exactly: to the target, or back to the source
    #[command(after_help = EXAMPLES)]
    Translate(Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The mirror's id
    mirror: String,
    /// A consumer group of the source cluster; with --to-source, of the target cluster
    #[arg(long, value_name = "GROUP", required_unless_present = "offsets", conflicts_with = "offsets")]
    group: Option<String>,
    /// An offset on the source; with --to-source, on the target. Repeat it
    #[arg(long = "offset", value_name = "TOPIC:PARTITION:OFFSET", value_parser = offset)]
    offsets: Vec<v1::SourceOffset>,
    /// From the copies on the target back to the source
    #[arg(long)]
    to_source: bool,
    /// Print TOPIC,PARTITION,OFFSET for kafka-consumer-groups.sh --reset-offsets --from-file; fail where a position is not exact
    #[arg(long)]
    csv: bool,
    /// With --csv: leave out partitions that have no exact position; the group keeps its place in them
    #[arg(long, requires = "csv")]
    skip_untranslatable: bool,
}

fn offset(text: &str) -> Result<v1::SourceOffset, String> {
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
    let Command::Translate(args) = command;
    let direction = if args.to_source { Direction::ToSource } else { Direction::ToTarget };
    let request = v1::TranslateOffsetsRequest {
        mirror: format!("mirrors/{}", args.mirror),
        group: args.group.unwrap_or_default(),
        offsets: args.offsets,
        direction: direction.into(),
    };
    let translated = connection.offsets().translate_offsets(request).await?.into_inner();
    if args.csv {
        if let Some(unasked) = unasked(&translated, SystemTime::now()) {
            eprintln!("{unasked}");
        }
        let (rows, left_out) = csv(&translated.offsets, args.to_source, args.skip_untranslatable)?;
        left_out.iter().for_each(|line| eprintln!("left out: {line}"));
        return print(rows.trim_end());
    }
    output.show(json("TranslateOffsetsResponse", &translated), || {
        let unasked = unasked(&translated, SystemTime::now()).unwrap_or_default();
        format!("{}{unasked}", table(&translated.offsets, args.to_source))
    })
}

/// What is to be known where the source could not be asked.
fn unasked(translated: &v1::TranslateOffsetsResponse, now: SystemTime) -> Option<String> {
    let cause = super::human::cause(translated.unasked.as_ref()?);
    let as_of = translated.offsets.iter().filter_map(|offset| offset.as_of);
    let oldest = as_of.min_by_key(|time| (time.seconds, time.nanos));
    Some(match oldest {
        Some(_) => format!(
            "the source can't be asked: the group's offsets are those of its last checkpoints on the target, as of {} (the oldest). {cause}",
            human::ago(oldest, now)
        ),
        None => format!(
            "the source can't be asked: whether its topics are still the ones that were copied isn't known. {cause}"
        ),
    })
}

/// A topic, and an offset in it if there is one.
type Side<'a> = (&'a str, Option<i64>);

/// What was asked, and the answer.
fn sides(offset: &v1::TranslatedOffset, to_source: bool) -> (Side<'_>, Side<'_>) {
    let source = (offset.source_topic.as_str(), offset.source_offset);
    let target = (offset.target_topic.as_str(), offset.target_offset);
    match to_source {
        true => (target, source),
        false => (source, target),
    }
}

fn note(offset: &v1::TranslatedOffset) -> String {
    match (&*offset.reason, &*offset.message) {
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// The rows, and what they leave out: topics that are none of the mirror's, and with `skip` all that has no exact position.
fn csv(
    offsets: &[v1::TranslatedOffset],
    to_source: bool,
    skip: bool,
) -> Result<(String, Vec<String>), Failure> {
    let (mut rows, mut others, mut inexact) = (String::new(), Vec::new(), Vec::new());
    for offset in offsets {
        let ((topic, at), answer) = sides(offset, to_source);
        match answer {
            (to, Some(found)) => rows.push_str(&format!("{to},{},{found}\n", offset.partition)),
            _ => {
                let line = format!(
                    "{topic} partition {} offset {}: {}",
                    offset.partition,
                    at.unwrap_or(-1),
                    note(offset)
                );
                let is_other = ["NOT_A_COPY", "NOT_MIRRORED"].contains(&&*offset.reason);
                if is_other { others.push(line) } else { inexact.push(line) }
            }
        }
    }
    if !skip && !inexact.is_empty() {
        let message =
            format!("{} positions have no exact counterpart:\n  {}", inexact.len(), inexact.join("\n  "));
        let next =
            "mend what they say and try again, or leave these partitions out with --skip-untranslatable";
        return Err(Failure::new(Kind::Precondition, message).next(next));
    }
    others.extend(inexact);
    if rows.is_empty() {
        let message = format!("there is nothing to translate:\n  {}", others.join("\n  "));
        return Err(Failure::new(Kind::Precondition, message));
    }
    Ok((rows, others))
}

fn table(offsets: &[v1::TranslatedOffset], to_source: bool) -> String {
    if offsets.is_empty() {
        return "the group has no committed offsets".to_owned();
    }
    let mut table = Table::new(match to_source {
        true => ["TARGET TOPIC", "PARTITION", "TARGET OFFSET", "SOURCE TOPIC", "SOURCE OFFSET", "NOTE"],
        false => ["SOURCE TOPIC", "PARTITION", "SOURCE OFFSET", "TARGET TOPIC", "TARGET OFFSET", "NOTE"],
    });
    for offset in offsets {
        let ((topic, at), (to, found)) = sides(offset, to_source);
        table.row([
            topic.to_owned(),
            offset.partition.to_string(),
            at.map(human::count).unwrap_or_default(),
            to.to_owned(),
            found.map(human::count).unwrap_or_default(),
            note(offset),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_from_the_right() {
        let parsed = offset("a:b:3:12").unwrap();
        assert_eq!((parsed.topic.as_str(), parsed.partition, parsed.offset), ("a:b", 3, 12));
        assert!(offset("a:3").is_err() && offset("a:x:1").is_err());
    }

    fn back(topic: &str, partition: i32, source_offset: Option<i64>, reason: &str) -> v1::TranslatedOffset {
        v1::TranslatedOffset {
            source_topic: if reason == "NOT_A_COPY" { String::new() } else { topic.to_owned() },
            partition,
            source_offset,
            target_topic: format!("a.{topic}"),
            target_offset: Some(7),
            reason: reason.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_csv_holds_exact_positions_only_and_nothing_is_left_out_silently() {
        let offsets =
            [back("t", 0, Some(5), ""), back("t", 1, Some(0), ""), back("own", 0, None, "NOT_A_COPY")];
        let (rows, left_out) = csv(&offsets, true, false).unwrap();
        assert_eq!(rows, "t,0,5\nt,1,0\n");
        assert_eq!(left_out, ["a.own partition 0 offset 7: NOT_A_COPY"]);

        let offsets = [back("t", 0, Some(5), ""), back("t", 1, None, "SOURCE_TRUNCATED")];
        let failure = csv(&offsets, true, false).unwrap_err();
        assert!(failure.kind == Kind::Precondition && failure.to_string().contains("a.t partition 1"));
        assert_eq!(csv(&offsets, true, true).unwrap().0, "t,0,5\n");
        assert!(csv(&offsets[1..], true, true).is_err(), "an empty file is no plan");
    }
}
