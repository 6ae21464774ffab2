//! `twinlog mirror update`

use std::time::Duration;

use prost_types::FieldMask;
use twinlog_proto::v1;
use uuid::Uuid;

use super::super::connect::Connection;
use super::super::failure::Failure;
use super::super::fields::{Compression, Engine, OntoExisting, config_exclude, key_value, patterns};
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

Source, target, naming, partitioning, guarantee and block size can't change: ranges are known by them. What runs goes on.";

#[derive(Debug, clap::Args)]
pub(crate) struct Changes {
    /// Topics to copy, in place of what is set. Repeat it, or separate with commas
    #[arg(long, value_name = "PATTERN")]
    topics: Option<Vec<String>>,
    /// Topics to leave out, in place of what is set; '' for the default
    #[arg(long, value_name = "PATTERN")]
    exclude: Option<Vec<String>>,
    /// Consumer groups whose offsets are translated, in place of what is set; '' for none
    #[arg(long, value_name = "PATTERN")]
    groups: Option<Vec<String>>,
    /// Consumer groups to leave out, in place of what is set; '' for the default
    #[arg(long, value_name = "PATTERN")]
    groups_exclude: Option<Vec<String>>,
    /// Commit translated offsets on the target for groups that are idle there
    #[arg(long, value_name = "true|false")]
    sync_group_offsets: Option<bool>,
    /// For failing back: commit on the source what groups have read of the copies, for groups that are idle there
    #[arg(long, value_name = "true|false")]
    sync_group_offsets_to_source: Option<bool>,
    /// Keep configs of target topics in step
    #[arg(long, value_name = "true|false")]
    config_sync: Option<bool>,
    /// Copy ACLs of topics to the target, never a permission to write
    #[arg(long, value_name = "true|false")]
    acl_sync: Option<bool>,
    /// Also remove ACLs of target topics that the source doesn't have
    #[arg(long, value_name = "true|false")]
    acl_remove: Option<bool>,
    /// Emit heartbeats
    #[arg(long, value_name = "true|false")]
    heartbeats: Option<bool>,
    /// Create missing topics and add partitions on the target
    #[arg(long, value_name = "true|false")]
    create_topics: Option<bool>,
    /// Replication factor of topics it creates from now on; -1 for the target's default
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    replication_factor: Option<i32>,
    /// A topic config set on target topics, over the source's. Repeat it: all in place of what is set
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = key_value)]
    topic_configs: Option<Vec<(String, String)>>,
    /// Topic configs that are not copied from the source, besides those that never are, in place of what is set; '' for only those
    #[arg(long, value_name = "PATTERN")]
    config_exclude: Option<Vec<String>>,
    /// Begin where this consumer group of the source has got to, where the mirror has no progress yet; '' for no group
    #[arg(long, value_name = "GROUP")]
    start_group: Option<String>,
    /// How long a record may wait in Twinlog before it is sent and committed
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    target_latency: Option<Duration>,
    /// How often topics are looked for
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    refresh_topics: Option<Duration>,
    /// How often consumer groups are translated
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    refresh_groups: Option<Duration>,
    /// How batches are compressed on the target
    #[arg(long, value_name = "CODEC")]
    compression: Option<Compression>,
    /// How records are moved
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,
    /// When records are gone before they were copied: halt until someone decides, or resume at the first that exists
    #[arg(long, value_name = "POLICY")]
    gap_policy: Option<GapPolicy>,
    /// Accept it although records would go round for ever
    #[arg(long, value_name = "true|false")]
    allow_loops: Option<bool>,
    /// Where a topic on the target holds records and the mirror has no position in it: refuse, align (go on where the copy ends), or
    /// append behind them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "append", value_name = "HOW")]
    onto_existing: Option<OntoExisting>,
    /// Go on, behind them, where others write to the copies; otherwise stop and say so
    #[arg(long, value_name = "true|false")]
    allow_foreign_writes: Option<bool>,
    /// Only workers with this label run it. Repeat it: all in place of what is set
    #[arg(long = "placement", value_name = "KEY=VALUE", value_parser = key_value)]
    placement: Option<Vec<(String, String)>>,
    /// A label. Repeat it: all in place of what is set
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Option<Vec<(String, String)>>,
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum GapPolicy {
    Halt,
    Resume,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    id: String,
    #[command(flatten)]
    changes: Changes,
    /// Change nothing; say what would be copied, created and changed
    #[arg(long)]
    plan: bool,
}

impl Changes {
    /// Changes a mirror as it is, and says which fields.
    fn apply(self, mirror: &mut v1::Mirror) -> Vec<String> {
        let mut paths = Paths(Vec::new());
        paths.set("topics", self.topics.map(|given| patterns(&given)), &mut mirror.topics);
        paths.set("topics_exclude", self.exclude.map(|given| patterns(&given)), &mut mirror.topics_exclude);
        paths.set("groups", self.groups.map(|given| patterns(&given)), &mut mirror.groups);
        let exclude = self.groups_exclude.map(|given| patterns(&given));
        paths.set("groups_exclude", exclude, &mut mirror.groups_exclude);
        paths.set("sync_group_offsets", self.sync_group_offsets, &mut mirror.sync_group_offsets);
        paths.set(
            "sync_group_offsets_to_source",
            self.sync_group_offsets_to_source,
            &mut mirror.sync_group_offsets_to_source,
        );
        let some = |given: Option<bool>| given.map(Some);
        let config_sync = mirror.config_sync.get_or_insert_default();
        paths.set("config_sync", some(self.config_sync), &mut config_sync.enabled);
        let acl_sync = mirror.acl_sync.get_or_insert_default();
        paths.set("acl_sync", some(self.acl_sync), &mut acl_sync.enabled);
        paths.set("acl_sync", self.acl_remove, &mut acl_sync.remove);
        let start = mirror.start.get_or_insert_default();
        paths.set("start", self.start_group, &mut start.group);
        let heartbeats = mirror.heartbeats.get_or_insert_default();
        paths.set("heartbeats", some(self.heartbeats), &mut heartbeats.enabled);
        let creation = mirror.topic_creation.get_or_insert_default();
        paths.set("topic_creation", some(self.create_topics), &mut creation.enabled);
        paths.set("topic_creation", self.replication_factor, &mut creation.replication_factor);
        let configs = self.topic_configs.map(FromIterator::from_iter);
        paths.set("topic_creation", configs, &mut creation.config_overrides);
        let exclude = self.config_exclude.map(|given| config_exclude(&given));
        paths.set("topic_creation", exclude, &mut creation.config_exclude);
        let duration = |given: Option<Duration>| given.map(|given| given.try_into().ok());
        paths.set("target_latency", duration(self.target_latency), &mut mirror.target_latency);
        let refresh = mirror.refresh.get_or_insert_default();
        paths.set("refresh", duration(self.refresh_topics), &mut refresh.topics);
        paths.set("refresh", duration(self.refresh_groups), &mut refresh.groups);
        let codec = self.compression.map(|codec| codec.wire().into());
        paths.set("compression", codec, &mut mirror.compression);
        paths.set("engine", self.engine.map(|engine| engine.wire().into()), &mut mirror.engine);
        let policy = self.gap_policy.map(|policy| match policy {
            GapPolicy::Halt => v1::GapPolicy::Halt.into(),
            GapPolicy::Resume => v1::GapPolicy::Resume.into(),
        });
        paths.set("gap_policy", policy, &mut mirror.gap_policy);
        paths.set("allow_loops", self.allow_loops, &mut mirror.allow_loops);
        let onto = self.onto_existing.map(|onto| onto.wire().into());
        paths.set("onto_existing", onto, &mut mirror.onto_existing);
        paths.set("allow_foreign_writes", self.allow_foreign_writes, &mut mirror.allow_foreign_writes);
        paths.set("placement", self.placement.map(FromIterator::from_iter), &mut mirror.placement);
        paths.set("labels", self.labels.map(FromIterator::from_iter), &mut mirror.labels);
        paths.set("display_name", self.display_name, &mut mirror.display_name);
        paths.0
    }
}

/// The update mask as it grows.
struct Paths(Vec<String>);

impl Paths {
    fn set<T>(&mut self, path: &str, given: Option<T>, field: &mut T) {
        let Some(given) = given else { return };
        *field = given;
        if !self.0.iter().any(|known| known == path) {
            self.0.push(path.to_owned());
        }
    }
}

/// Reads, changes and writes; what somebody else changed meanwhile is not overwritten but said (ETAG_MISMATCH).
pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let mut client = connection.mirrors();
    let name = super::name(&args.id);
    let mut mirror = client.get_mirror(v1::GetMirrorRequest { name }).await?.into_inner();
    let paths = args.changes.apply(&mut mirror);
    if paths.is_empty() {
        return Err(Failure::usage(
            "nothing to change: give at least one flag; see twinlog mirror update --help",
        ));
    }
    let changed = paths.join(", ");
    let request = v1::UpdateMirrorRequest {
        mirror: Some(mirror),
        update_mask: Some(FieldMask { paths }),
        request_id: Uuid::new_v4().to_string(),
        validate_only: args.plan,
    };
    let mirror = client.update_mirror(request).await?.into_inner();
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
    output.show(json("Mirror", &mirror), || format!("mirror {id} changed: {changed}"))
}
