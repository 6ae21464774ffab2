//! `twinlog mirror give-back`

use std::fmt::Write as _;

use twinlog_proto::v1;

use super::super::connect::Connection;
use super::super::failure::Failure;
use super::super::output::{Output, json};
use super::name;

pub(super) const EXAMPLES: &str = "\
Examples:
  twinlog mirror pause orders
  twinlog mirror give-back orders --dry-run
  twinlog mirror give-back orders
  # ... and start MirrorMaker 2";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    id: String,
    /// Name of MM2's source connector. [default: the one it was taken over from, or MirrorSourceConnector]
    #[arg(long, value_name = "NAME")]
    connector: Option<String>,
    /// Connect's offsets topic on the target. [default: mm2-offsets.SOURCE.internal]
    #[arg(long, value_name = "TOPIC")]
    offsets_topic: Option<String>,
    /// Only say what would be written
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let request = v1::GiveBackMirrorRequest {
        name: name(&args.id),
        etag: String::new(),
        connector: args.connector.unwrap_or_default(),
        offsets_topic: args.offsets_topic.unwrap_or_default(),
        validate_only: args.dry_run,
    };
    let given = connection.mirrors().give_back_mirror(request).await?.into_inner();
    output.show(json("GiveBackMirrorResponse", &given), || describe(&args.id, &given, args.dry_run))
}

fn describe(id: &str, given: &v1::GiveBackMirrorResponse, dry_run: bool) -> String {
    let mut text = String::new();
    for v1::GivenBackPosition { source_topic, partition, last_copied_offset } in &given.positions {
        let _ = match last_copied_offset {
            None => writeln!(
                text,
                "{source_topic} partition {partition}: nothing was copied, MirrorMaker 2 begins at the start"
            ),
            Some(last) => writeln!(
                text,
                "{source_topic} partition {partition}: MirrorMaker 2 goes on after offset {last}"
            ),
        };
    }
    let count = given.positions.len();
    let end = match dry_run {
        true => format!("{count} positions. Nothing was written."),
        false => format!(
            "{count} positions written. Start MirrorMaker 2 now; mirror {id} must stay paused while it runs."
        ),
    };
    text + &end
}
