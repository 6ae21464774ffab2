//! `twinlog mirror create`

use std::time::Duration;

use twinlog_proto::v1;
use uuid::Uuid;

use super::super::connect::Connection;
use super::super::failure::Failure;
use super::super::fields::{
    Compression, Engine, Guarantee, Naming, OntoExisting, Partitioning, Start, config_exclude, key_value,
    patterns, start_position,
};
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
    --start-group mirror --start latest";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its id: lower-case letters, digits, '_' and '-'
    id: String,
    /// Id of the cluster to read from
    #[arg(long, value_name = "CLUSTER")]
    source: String,
    /// Id of the cluster to write to
    #[arg(long, value_name = "CLUSTER")]
    target: String,
    /// Topics to copy: a Java pattern for the whole name. Repeat it, or separate with commas
    #[arg(long, value_name = "PATTERN", required_unless_present = "renames")]
    topics: Vec<String>,
    /// Topics to leave out. [default: internal topics]
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Consumer groups whose offsets are translated
    #[arg(long, value_name = "PATTERN")]
    groups: Vec<String>,
    /// Consumer groups to leave out. [default: console-consumer-.*, connect-.*, __.*]
    #[arg(long, value_name = "PATTERN")]
    groups_exclude: Vec<String>,
    /// Commit translated offsets on the target for groups that are idle there
    #[arg(long)]
    sync_group_offsets: bool,
    /// For failing back: commit on the source what groups have read of the copies, for groups that are idle there
    #[arg(long)]
    sync_group_offsets_to_source: bool,
    /// How topics are named on the target. [default: prefix]
    #[arg(long, value_name = "NAMING")]
    naming: Option<Naming>,
    /// Between the source's id and the topic, with naming prefix. [default: .]
    #[arg(long, value_name = "TEXT")]
    separator: Option<String>,
    /// Copy exactly this topic, under this name. Repeat it; nothing else is copied
    #[arg(long = "rename", value_name = "TOPIC=NAME", value_parser = key_value, conflicts_with_all = ["naming", "topics"])]
    renames: Vec<(String, String)>,
    /// Where to begin: earliest, latest, or a UTC time such as 2026-01-31T12:00:00Z. [default: earliest]
    #[arg(long, value_name = "POSITION")]
    start: Option<Start>,
    /// Begin where this consumer group of the source has got to (MirrorMaker 1's group.id), behind what the target holds; where it has no
    /// offset, at --start. Nothing is copied while the group has members
    #[arg(long, value_name = "GROUP", conflicts_with = "take_over")]
    start_group: Option<String>,
    /// [default: exactly-once]
    #[arg(long, value_name = "GUARANTEE")]
    guarantee: Option<Guarantee>,
    /// Replication factor of topics it creates. [default: the target's]
    #[arg(long, value_name = "N")]
    replication_factor: Option<i32>,
    /// A topic config set on topics it creates, over the source's. Repeat it
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = key_value)]
    topic_configs: Vec<(String, String)>,
    /// Topic configs that are not copied from the source, besides those that never are. Repeat it, or separate with commas
    #[arg(long, value_name = "PATTERN")]
    config_exclude: Vec<String>,
    /// Don't create topics or add partitions on the target
    #[arg(long)]
    no_create_topics: bool,
    /// How long a record may wait in Twinlog before it is sent and committed. [default: 200ms]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    target_latency: Option<Duration>,
    /// How batches are compressed on the target. [default: lz4]
    #[arg(long, value_name = "CODEC")]
    compression: Option<Compression>,
    /// How records are moved. [default: auto]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,
    /// Go on at the first record that exists where records were gone before they were copied; otherwise stop and say so
    #[arg(long)]
    resume_after_gap: bool,
    /// Go on exactly where a MirrorMaker 2 of this flow stops; nothing is copied while it runs
    #[arg(long)]
    take_over: bool,
    /// Name of MM2's source connector. [default: any that ends in MirrorSourceConnector]
    #[arg(long, value_name = "NAME", requires = "take_over")]
    take_over_connector: Option<String>,
    /// Connect's offsets topic on the target. [default: mm2-offsets.SOURCE.internal]
    #[arg(long, value_name = "TOPIC", requires = "take_over")]
    take_over_offsets_topic: Option<String>,
    /// Connect's group on the target. [default: SOURCE-mm2]
    #[arg(long, value_name = "GROUP", requires = "take_over")]
    take_over_group: Option<String>,
    /// Which partition of the target a record goes to. [default: preserve]
    #[arg(long, value_name = "PARTITIONING")]
    partitioning: Option<Partitioning>,
    /// Leave configs of target topics alone once they are created
    #[arg(long)]
    no_config_sync: bool,
    /// Copy ACLs of topics to the target, never a permission to write
    #[arg(long)]
    acl_sync: bool,
    /// Also remove ACLs of target topics that the source doesn't have
    #[arg(long, requires = "acl_sync")]
    acl_remove: bool,
    /// Accept it although records would go round for ever
    #[arg(long)]
    allow_loops: bool,
    /// Where a topic on the target holds records and the mirror has no position in it: refuse, align (go on where the copy ends), or
    /// append behind them. [default: refuse]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "append", value_name = "HOW")]
    onto_existing: Option<OntoExisting>,
    /// Go on, behind them, where others write to the copies; otherwise stop and say so
    #[arg(long)]
    allow_foreign_writes: bool,
    /// Only workers with this label run it. Repeat it
    #[arg(long = "placement", value_name = "KEY=VALUE", value_parser = key_value)]
    placement: Vec<(String, String)>,
    /// A label. Repeat it
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// Create it paused
    #[arg(long)]
    paused: bool,
    /// Create nothing; say what would be copied, created and changed
    #[arg(long)]
    plan: bool,
}

impl Args {
    fn wire(self) -> v1::Mirror {
        let mut naming = self.naming.map(Naming::wire);
        if let Some(separator) = self.separator {
            naming.get_or_insert_default().separator = separator;
        }
        let mut topics = patterns(&self.topics);
        if !self.renames.is_empty() {
            topics = self.renames.iter().map(|(topic, _)| topic.replace('.', "\\.")).collect();
            let naming = naming.get_or_insert_default();
            naming.set_kind(v1::naming::Kind::Map);
            naming.map = self.renames.into_iter().collect();
        }
        v1::Mirror {
            source: format!("clusters/{}", self.source),
            target: format!("clusters/{}", self.target),
            topics,
            topics_exclude: patterns(&self.exclude),
            groups: patterns(&self.groups),
            groups_exclude: patterns(&self.groups_exclude),
            sync_group_offsets: self.sync_group_offsets,
            sync_group_offsets_to_source: self.sync_group_offsets_to_source,
            naming,
            start: (self.start.is_some() || self.start_group.is_some())
                .then(|| start_position(self.start.unwrap_or(Start::Earliest), self.start_group)),
            guarantee: self.guarantee.map(|g| g.wire().into()).unwrap_or_default(),
            topic_creation: Some(v1::TopicCreation {
                enabled: self.no_create_topics.then_some(false),
                replication_factor: self.replication_factor.unwrap_or_default(),
                config_overrides: self.topic_configs.into_iter().collect(),
                config_exclude: config_exclude(&self.config_exclude),
            }),
            target_latency: self.target_latency.and_then(|d| d.try_into().ok()),
            compression: self.compression.map(|codec| codec.wire().into()).unwrap_or_default(),
            engine: self.engine.map(|engine| engine.wire().into()).unwrap_or_default(),
            gap_policy: if self.resume_after_gap { v1::GapPolicy::Resume.into() } else { 0 },
            partitioning: self.partitioning.map(|p| p.wire().into()).unwrap_or_default(),
            config_sync: self
                .no_config_sync
                .then(|| v1::ConfigSync { enabled: Some(false), ..v1::ConfigSync::default() }),
            acl_sync: self.acl_sync.then(|| v1::AclSync {
                enabled: Some(true),
                remove: self.acl_remove,
                ..v1::AclSync::default()
            }),
            allow_loops: self.allow_loops,
            onto_existing: self.onto_existing.map(|onto| onto.wire().into()).unwrap_or_default(),
            allow_foreign_writes: self.allow_foreign_writes,
            placement: self.placement.into_iter().collect(),
            labels: self.labels.into_iter().collect(),
            take_over: self.take_over.then(|| v1::TakeOver {
                connector: self.take_over_connector.unwrap_or_default(),
                offsets_topic: self.take_over_offsets_topic.unwrap_or_default(),
                group: self.take_over_group.unwrap_or_default(),
            }),
            desired_state: if self.paused { v1::DesiredState::Paused.into() } else { 0 },
            ..v1::Mirror::default()
        }
    }
}

pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let request = v1::CreateMirrorRequest {
        mirror_id: args.id.clone(),
        validate_only: args.plan,
        request_id: Uuid::new_v4().to_string(),
        mirror: Some(args.wire()),
    };
    let planned = request.validate_only;
    let mirror = connection.mirrors().create_mirror(request).await?.into_inner();
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
