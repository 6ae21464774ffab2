//! Flags of what can change while a mirror runs, by heading. `mirror create`, `mirror update` and `run` have all of them.

use std::time::Duration;

use twinlog_proto::v1;

use super::super::fields::{
    Compression, Engine, GapPolicy, OntoExisting, Start, config_exclude, key_value, patterns,
};
use super::{Mask, switch};

#[derive(Debug, Default, clap::Args)]
#[command(mut_args = switch)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    groups: Groups,
    #[command(flatten)]
    copies: Copies,
    #[command(flatten)]
    moving: Moving,
    #[command(flatten)]
    pub(crate) trouble: Trouble,
}

impl Settings {
    /// Makes of the mirror what is given, and leaves the rest.
    pub(crate) fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        self.selection.apply(mirror, mask);
        self.groups.apply(mirror, mask);
        self.copies.apply(mirror, mask);
        self.moving.apply(mirror, mask);
        self.trouble.apply(mirror, mask);
    }
}

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "What is copied")]
pub(crate) struct Selection {
    /// Topics to copy: a Java pattern for the whole name. Repeat it, or separate with commas
    #[arg(long, value_name = "PATTERN")]
    topics: Option<Vec<String>>,
    /// Topics to leave out; '' for the default. [default: internal topics]
    #[arg(long, value_name = "PATTERN")]
    exclude: Option<Vec<String>>,
    /// Where to begin what has no progress yet: earliest, latest, or a UTC time such as 2026-01-31T12:00:00Z. [default: earliest]
    #[arg(long, value_name = "POSITION")]
    pub(crate) start: Option<Start>,
    /// Begin where this consumer group of the source has got to (MirrorMaker 1's group.id), behind what the target holds; where it has no
    /// offset, at --start. Nothing is copied while the group has members; '' for no group
    #[arg(long, value_name = "GROUP")]
    pub(crate) start_group: Option<String>,
    /// How often topics are looked for. [default: 3s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    refresh_topics: Option<Duration>,
}

impl Selection {
    fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        mask.set(("topics", "--topics"), self.topics.map(|given| patterns(&given)), &mut mirror.topics);
        let exclude = self.exclude.map(|given| patterns(&given));
        mask.set(("topics_exclude", "--exclude"), exclude, &mut mirror.topics_exclude);
        let position = self.start.map(|start| Some(start.position()));
        mask.within(("start", "--start"), position, &mut mirror.start, |start| &mut start.position);
        mask.within(("start.group", "--start-group"), self.start_group, &mut mirror.start, |start| {
            &mut start.group
        });
        let every = duration(self.refresh_topics);
        mask.within(("refresh.topics", "--refresh-topics"), every, &mut mirror.refresh, |refresh| {
            &mut refresh.topics
        });
    }
}

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Consumer groups")]
struct Groups {
    /// Consumer groups whose offsets are translated: a Java pattern for the whole name; '' for none. Repeat it, or separate with commas
    #[arg(long, value_name = "PATTERN")]
    groups: Option<Vec<String>>,
    /// Consumer groups to leave out; '' for the default. [default: console-consumer-.*, connect-.*, __.*]
    #[arg(long, value_name = "PATTERN")]
    groups_exclude: Option<Vec<String>>,
    /// Commit translated offsets on the target for groups that are idle there. [default: false]
    #[arg(long)]
    sync_group_offsets: Option<bool>,
    /// For failing back: commit on the source what groups have read of the copies, for groups that are idle there. [default: false]
    #[arg(long)]
    sync_group_offsets_to_source: Option<bool>,
    /// How often consumer groups are translated. [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    refresh_groups: Option<Duration>,
}

impl Groups {
    fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        mask.set(("groups", "--groups"), self.groups.map(|given| patterns(&given)), &mut mirror.groups);
        let exclude = self.groups_exclude.map(|given| patterns(&given));
        mask.set(("groups_exclude", "--groups-exclude"), exclude, &mut mirror.groups_exclude);
        mask.set(
            ("sync_group_offsets", "--sync-group-offsets"),
            self.sync_group_offsets,
            &mut mirror.sync_group_offsets,
        );
        mask.set(
            ("sync_group_offsets_to_source", "--sync-group-offsets-to-source"),
            self.sync_group_offsets_to_source,
            &mut mirror.sync_group_offsets_to_source,
        );
        let every = duration(self.refresh_groups);
        mask.within(("refresh.groups", "--refresh-groups"), every, &mut mirror.refresh, |refresh| {
            &mut refresh.groups
        });
    }
}

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Topics on the target")]
struct Copies {
    /// Create missing topics and add partitions on the target. [default: true]
    #[arg(long)]
    create_topics: Option<bool>,
    /// The same as --create-topics=false
    #[arg(long, conflicts_with = "create_topics")]
    no_create_topics: bool,
    /// Replication factor of topics it creates from now on; -1 for the default. [default: the target's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    replication_factor: Option<i32>,
    /// A topic config set on target topics, over the source's. Repeat it
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = key_value)]
    topic_configs: Option<Vec<(String, String)>>,
    /// Topic configs that are not copied from the source, besides those that never are; '' for only those. Repeat it, or separate with
    /// commas
    #[arg(long, value_name = "PATTERN")]
    config_exclude: Option<Vec<String>>,
    /// Keep configs of target topics in step with the source. [default: true]
    #[arg(long)]
    config_sync: Option<bool>,
    /// The same as --config-sync=false: leave configs of target topics alone once they are created
    #[arg(long, conflicts_with = "config_sync")]
    no_config_sync: bool,
    /// Copy ACLs of topics to the target, never a permission to write. [default: false]
    #[arg(long)]
    acl_sync: Option<bool>,
    /// Also remove ACLs of target topics that the source doesn't have. [default: false]
    #[arg(long)]
    acl_remove: Option<bool>,
}

impl Copies {
    fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        let (create, sync) = (no(self.no_create_topics), no(self.no_config_sync));
        let creation = &mut mirror.topic_creation;
        let create = self.create_topics.or(create).map(Some);
        mask.within(("topic_creation.enabled", "--create-topics"), create, creation, |creation| {
            &mut creation.enabled
        });
        mask.within(
            ("topic_creation.replication_factor", "--replication-factor"),
            self.replication_factor,
            creation,
            |creation| &mut creation.replication_factor,
        );
        mask.within(
            ("topic_creation.config_overrides", "--topic-config"),
            self.topic_configs.map(FromIterator::from_iter),
            creation,
            |creation| &mut creation.config_overrides,
        );
        mask.within(
            ("topic_creation.config_exclude", "--config-exclude"),
            self.config_exclude.map(|given| config_exclude(&given)),
            creation,
            |creation| &mut creation.config_exclude,
        );
        let sync = self.config_sync.or(sync).map(Some);
        mask.within(("config_sync.enabled", "--config-sync"), sync, &mut mirror.config_sync, |sync| {
            &mut sync.enabled
        });
        let sync = self.acl_sync.map(Some);
        mask.within(("acl_sync.enabled", "--acl-sync"), sync, &mut mirror.acl_sync, |sync| &mut sync.enabled);
        mask.within(("acl_sync.remove", "--acl-remove"), self.acl_remove, &mut mirror.acl_sync, |sync| {
            &mut sync.remove
        });
    }
}

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "How records move")]
struct Moving {
    /// How records are moved. [default: auto]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,
    /// Exactly once in transactions always, also what is recent. [default: false]
    #[arg(long)]
    always_transactions: Option<bool>,
    /// How batches are compressed on the target where librdkafka moves them. [default: lz4]
    #[arg(long, value_name = "CODEC")]
    compression: Option<Compression>,
    /// How long a record may wait in Twinlog before it is sent and committed. [default: 200ms]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    target_latency: Option<Duration>,
    /// Emit heartbeats. [default: true]
    #[arg(long)]
    heartbeats: Option<bool>,
}

impl Moving {
    fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        let engine = self.engine.map(|engine| engine.wire().into());
        mask.set(("engine", "--engine"), engine, &mut mirror.engine);
        mask.set(
            ("always_transactions", "--always-transactions"),
            self.always_transactions,
            &mut mirror.always_transactions,
        );
        let codec = self.compression.map(|codec| codec.wire().into());
        mask.set(("compression", "--compression"), codec, &mut mirror.compression);
        let latency = duration(self.target_latency);
        mask.set(("target_latency", "--target-latency"), latency, &mut mirror.target_latency);
        let emit = self.heartbeats.map(Some);
        mask.within(("heartbeats.enabled", "--heartbeats"), emit, &mut mirror.heartbeats, |heartbeats| {
            &mut heartbeats.enabled
        });
    }
}

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Where it would stop and ask")]
pub(crate) struct Trouble {
    /// When records are gone before they were copied: halt until someone decides, or resume at the first that exists. [default: halt]
    #[arg(long, value_name = "POLICY")]
    gap_policy: Option<GapPolicy>,
    /// The same as --gap-policy resume
    #[arg(long, conflicts_with = "gap_policy")]
    resume_after_gap: bool,
    /// Where a topic on the target holds records and the mirror has no position in it: refuse, align (go on where the copy ends), or
    /// append behind them. [default: refuse]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "append", value_name = "HOW")]
    onto_existing: Option<OntoExisting>,
    /// Go on, behind them, where others write to the copies; otherwise stop and say so. [default: false]
    #[arg(long)]
    allow_foreign_writes: Option<bool>,
    /// Accept it although records would go round for ever. [default: false]
    #[arg(long)]
    pub(crate) allow_loops: Option<bool>,
}

impl Trouble {
    fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        let policy = self.gap_policy.or(self.resume_after_gap.then_some(GapPolicy::Resume));
        let policy = policy.map(|policy| policy.wire().into());
        mask.set(("gap_policy", "--gap-policy"), policy, &mut mirror.gap_policy);
        let onto = self.onto_existing.map(|onto| onto.wire().into());
        mask.set(("onto_existing", "--onto-existing"), onto, &mut mirror.onto_existing);
        mask.set(
            ("allow_foreign_writes", "--allow-foreign-writes"),
            self.allow_foreign_writes,
            &mut mirror.allow_foreign_writes,
        );
        mask.set(("allow_loops", "--allow-loops"), self.allow_loops, &mut mirror.allow_loops);
    }
}

/// What a flag that says no means.
fn no(given: bool) -> Option<bool> {
    given.then_some(false)
}

/// As the API has it, which refuses what is too long for it.
fn duration(given: Option<Duration>) -> Option<Option<prost_types::Duration>> {
    let longest = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    given.map(|given| Some(given.try_into().unwrap_or(longest)))
}
