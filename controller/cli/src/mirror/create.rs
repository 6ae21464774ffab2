//! `twinlog mirror create`

use twinlog_proto::v1;
use twinlog_proto::v1::start_position::Position;

use super::super::connect::{Connection, request_id};
use super::super::failure::Failure;
use super::super::fields::key_value;
use super::super::flags::{self, FIXED, Fixed, Fleet, Mask, Settings, TakeOver};
use super::super::human;
use super::super::output::{Output, json};
use super::show;

pub(super) const EXAMPLES: &str = "\
Examples:
  # What would happen? Nothing is created.
  twinlog mirror create orders --source eu --target us --topics 'orders.*' --plan

  twinlog mirror create orders --source eu --target us --topics 'orders.*' --exclude '.*\\.tmp'
  twinlog mirror create all --source eu --target us --topics '.*' --groups '.*' --sync-group-offsets
  twinlog mirror create two --source eu --target us --rename orders=eu-orders --rename bills=eu-bills
  twinlog mirror create move --source old --target new --topics '.*' --naming identity --start 2026-01-31T00:00:00Z

  # Go on exactly where MirrorMaker 2 stops. It waits until MM2 has ended.
  twinlog mirror create orders --source eu --target us --topics 'orders.*' --take-over

  # The same of a MirrorMaker 1 with group.id=mirror, auto.offset.reset=latest:
  twinlog mirror create orders --source eu --target us --topics 'orders.*' --naming identity --partitioning by-key \\
    --start-group mirror --start latest

A flag with BOOL alone means true; what is true by default is switched off with --flag=false.";

/// Fields that only this command has flags for.
const OWN_FLAGS: &[flags::Field] = &[
    ("mirror_id", "ID"),
    ("mirror.source", "--source"),
    ("mirror.target", "--target"),
    ("mirror.naming.map", "--rename"),
    ("mirror.desired_state", "--paused"),
];

#[derive(Debug, clap::Args)]
#[command(mut_args = flags::switch_before_words)]
#[command(mut_arg("topics", |arg| arg.required_unless_present("renames")))]
#[command(mut_arg("acl_remove", |arg| arg.requires("acl_sync")))]
pub(crate) struct Args {
    /// Its id: lower-case letters, digits, '_' and '-'
    id: String,
    /// Id of the cluster to read from
    #[arg(long, value_name = "CLUSTER")]
    source: String,
    /// Id of the cluster to write to
    #[arg(long, value_name = "CLUSTER")]
    target: String,
    /// Create nothing; say what would be copied, created and changed
    #[arg(long)]
    plan: bool,
    /// Create it paused
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    settings: Settings,
    /// Copy exactly this topic, under this name. Repeat it; nothing else is copied
    #[arg(long = "rename", value_name = "TOPIC=NAME", value_parser = key_value, help_heading = FIXED,
        conflicts_with_all = ["naming", "topics"])]
    renames: Vec<(String, String)>,
    #[command(flatten)]
    fixed: Fixed,
    #[command(flatten)]
    take_over: TakeOver,
    #[command(flatten)]
    fleet: Fleet,
}

impl Args {
    fn wire(self) -> v1::Mirror {
        let desired_state =
            if self.paused { v1::DesiredState::Paused } else { v1::DesiredState::Unspecified };
        let mut mirror = v1::Mirror {
            source: format!("clusters/{}", self.source),
            target: format!("clusters/{}", self.target),
            topic_creation: Some(v1::TopicCreation::default()),
            desired_state: desired_state.into(),
            ..v1::Mirror::default()
        };
        let mut mask = Mask::default();
        self.settings.apply(&mut mirror, &mut mask);
        self.fixed.apply(&mut mirror, &mut mask);
        self.take_over.apply(&mut mirror, &mut mask);
        self.fleet.apply(&mut mirror, &mut mask);
        if let Some(start) = &mut mirror.start {
            start.position.get_or_insert(Position::Earliest(true));
        }
        if !self.renames.is_empty() {
            mirror.topics = self.renames.iter().map(|(topic, _)| topic.replace('.', "\\.")).collect();
            let naming = mirror.naming.get_or_insert_default();
            naming.set_kind(v1::naming::Kind::Map);
            naming.map = self.renames.into_iter().collect();
        }
        mirror
    }
}

pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let request = v1::CreateMirrorRequest {
        mirror_id: args.id.clone(),
        validate_only: args.plan,
        request_id: request_id(),
        mirror: Some(args.wire()),
    };
    let planned = request.validate_only;
    let created = connection.mirrors().create_mirror(request).await;
    let mirror = created.map_err(|status| flags::refused(&status, OWN_FLAGS))?.into_inner();
    let id = human::id(&mirror.name);
    if planned {
        let plan = mirror.plan.unwrap_or_default();
        return output.show(json("MirrorPlan", &plan), || {
            format!(
                "{}\nNothing was created. Without --plan, mirror {id} would do this.",
                show::plan(&plan).trim_end()
            )
        });
    }
    output.show(json("Mirror", &mirror), || {
        format!("mirror {id} created; see it work: twinlog mirror watch {id}")
    })
}
