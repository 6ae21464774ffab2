//! `twinlog mirror update`

use prost_types::FieldMask;
use twinlog_proto::v1;

use super::super::connect::{Connection, request_id};
use super::super::failure::Failure;
use super::super::flags::{self, Fleet, Mask, Settings};
use super::super::human;
use super::super::output::{Output, json};
use super::show;

pub(super) const EXAMPLES: &str = "\
Examples:
  # What would change? Nothing is changed.
  twinlog mirror update orders --topics 'orders.*,payments' --plan

  twinlog mirror update orders --groups 'billing.*' --sync-group-offsets true
  twinlog mirror update orders --sync-group-offsets-to-source true
  twinlog mirror update orders --gap-policy resume
  twinlog mirror update orders --replication-factor 3 --label team=payments

What isn't given stays as it is. A list, and what is repeated, takes the place of all that is set. A flag with BOOL alone means true.

Source, target, naming, partitioning, guarantee and block size can't change: ranges are known by them. What runs goes on.";

#[derive(Debug, clap::Args)]
#[command(mut_args = flags::without_default)]
pub(crate) struct Args {
    /// The mirror's id
    id: String,
    /// Change nothing; say what would be copied, created and changed
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    fleet: Fleet,
}

/// Reads, changes and writes; what somebody else changed meanwhile is not overwritten but said (ETAG_MISMATCH).
pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let mut client = connection.mirrors();
    let name = super::name(&args.id);
    let mut mirror = client.get_mirror(v1::GetMirrorRequest { name }).await?.into_inner();
    let mut mask = Mask::default();
    args.settings.apply(&mut mirror, &mut mask);
    args.fleet.apply(&mut mirror, &mut mask);
    let changed = mask.changed();
    if changed.is_empty() {
        return Err(Failure::usage(
            "nothing to change: give at least one flag; see twinlog mirror update --help",
        ));
    }
    let request = v1::UpdateMirrorRequest {
        mirror: Some(mirror),
        update_mask: Some(FieldMask { paths: changed.iter().copied().map(str::to_owned).collect() }),
        request_id: request_id(),
        validate_only: args.plan,
    };
    let updated = client.update_mirror(request).await;
    let mirror = updated.map_err(|status| flags::refused(&status, &[]))?.into_inner();
    let id = human::id(&mirror.name);
    if args.plan {
        let plan = mirror.plan.unwrap_or_default();
        return output.show(json("MirrorPlan", &plan), || {
            format!(
                "{}\nNothing was changed. Without --plan, mirror {id} would do this.",
                show::plan(&plan).trim_end()
            )
        });
    }
    output.show(json("Mirror", &mirror), || format!("mirror {id} changed: {}", changed.join(", ")))
}
