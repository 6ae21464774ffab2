//! `twinlog mirror`

mod create;
mod gaps;
mod give_back;
mod list;
mod show;
mod update;

use clap::Subcommand;
use twinlog_proto::v1;

use super::connect::{Connection, request_id};
use super::failure::Failure;
use super::output::{Output, json};
use super::watch;

pub(super) use list::{mirrors, statuses};
pub(super) use show::table;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a mirror, or with --plan only say what it would do
    #[command(after_help = create::EXAMPLES)]
    Create(Box<create::Args>),
    /// List the mirrors with their state
    #[command(after_help = list::EXAMPLES)]
    List(list::Args),
    /// Show one mirror as it is configured
    Get { id: String },
    /// What a mirror copies, creates and changes, as a worker finds it now
    Plan { id: String },
    /// State with causes, lag and rate, per topic
    Status {
        id: String,
        /// Also show every partition range
        #[arg(long)]
        ranges: bool,
    },
    /// Change a mirror while it runs, or with --plan only say what it would do
    #[command(after_help = update::EXAMPLES)]
    Update(Box<update::Args>),
    /// Stop copying; everything stays where it is
    Pause { id: String },
    /// Go on copying exactly where it stopped
    Resume { id: String },
    /// Write a paused mirror's positions where MirrorMaker 2 looks for its own, so that it goes on exactly there
    #[command(after_help = give_back::EXAMPLES)]
    GiveBack(give_back::Args),
    /// What it has not copied and never will, with the reason: source offsets that were gone before they were copied
    #[command(
        after_help = "Examples:\n  twinlog mirror gaps orders\n  twinlog mirror gaps orders -o json | jq '.gaps[].gap'"
    )]
    Gaps { id: String },
    /// Delete a mirror. What it copied, and its progress on the target, stay
    #[command(alias = "rm")]
    Delete { id: String },
    /// Live progress per topic: rate, lag, and when it will have caught up
    #[command(
        after_help = "Examples:\n  twinlog mirror watch orders\n  twinlog mirror watch orders -o json | jq .status.totals.lag_records"
    )]
    Watch {
        /// One mirror; otherwise all of them
        id: Option<String>,
        /// How often
        #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
        interval: std::time::Duration,
    },
}

fn name(id: &str) -> String {
    format!("mirrors/{id}")
}

pub(super) async fn execute(
    command: Command,
    connection: Connection,
    output: &Output,
) -> Result<(), Failure> {
    let mut client = connection.mirrors();
    match command {
        Command::Create(args) => create::execute(*args, connection, output).await,
        Command::List(args) => list::execute(args, connection, output).await,
        Command::Get { id } => {
            let mirror = client.get_mirror(v1::GetMirrorRequest { name: name(&id) }).await?.into_inner();
            output.show(json("Mirror", &mirror), || show::describe(&mirror))
        }
        Command::Plan { id } => {
            let plan = client.plan_mirror(v1::PlanMirrorRequest { name: name(&id) }).await?.into_inner();
            output.show(json("MirrorPlan", &plan), || show::plan(&plan))
        }
        Command::Status { id, ranges } => {
            let status = list::status(&connection, &name(&id)).await?;
            output.show(json("MirrorStatus", &status), || show::status(&status, ranges))
        }
        Command::Update(args) => update::execute(*args, connection, output).await,
        Command::Pause { id } => {
            let request =
                v1::PauseMirrorRequest { name: name(&id), request_id: request_id(), ..Default::default() };
            let mirror = client.pause_mirror(request).await?.into_inner();
            output.show(json("Mirror", &mirror), || format!("mirror {id} pauses"))
        }
        Command::Resume { id } => {
            let request =
                v1::ResumeMirrorRequest { name: name(&id), request_id: request_id(), ..Default::default() };
            let mirror = client.resume_mirror(request).await?.into_inner();
            output.show(json("Mirror", &mirror), || {
                format!("mirror {id} goes on; see: twinlog mirror watch {id}")
            })
        }
        Command::GiveBack(args) => give_back::execute(args, connection, output).await,
        Command::Gaps { id } => gaps::execute(&id, connection, output).await,
        Command::Delete { id } => {
            let request =
                v1::DeleteMirrorRequest { name: name(&id), request_id: request_id(), ..Default::default() };
            client.delete_mirror(request).await?;
            output.show(serde_json::json!({ "deleted": name(&id) }), || {
                format!("mirror {id} deleted; what it copied stays on the target")
            })
        }
        Command::Watch { id, interval } => watch::execute(connection, id, interval, output).await,
    }
}
