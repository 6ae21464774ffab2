//! Flags of what is decided when a mirror is created, and of what belongs to a fleet of workers.

use twinlog_proto::v1;

use super::super::fields::{Guarantee, Naming, Partitioning, key_value};
use super::Mask;

/// The heading of flags for what can't change later.
pub(crate) const FIXED: &str = "Fixed when the mirror is created";

/// What can't change later: ranges are known by it. For `mirror create` and `run`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = FIXED)]
pub(crate) struct Fixed {
    /// How topics are named on the target. [default: prefix]
    #[arg(long, value_name = "NAMING")]
    naming: Option<Naming>,
    /// Between the source's id and the topic, with naming prefix. [default: .]
    #[arg(long, value_name = "TEXT")]
    separator: Option<String>,
    /// What a crash may do to the copy. [default: exactly-once]
    #[arg(long, value_name = "GUARANTEE")]
    guarantee: Option<Guarantee>,
    /// Which partition of the target a record goes to. [default: preserve]
    #[arg(long, value_name = "PARTITIONING")]
    partitioning: Option<Partitioning>,
}

impl Fixed {
    pub(crate) fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        let kind = self.naming.map(|naming| naming.wire().into());
        mask.within(("naming.kind", "--naming"), kind, &mut mirror.naming, |naming| &mut naming.kind);
        mask.within(("naming.separator", "--separator"), self.separator, &mut mirror.naming, |naming| {
            &mut naming.separator
        });
        let guarantee = self.guarantee.map(|guarantee| guarantee.wire().into());
        mask.set(("guarantee", "--guarantee"), guarantee, &mut mirror.guarantee);
        let partitioning = self.partitioning.map(|partitioning| partitioning.wire().into());
        mask.set(("partitioning", "--partitioning"), partitioning, &mut mirror.partitioning);
    }
}

/// What tells mirrors and workers apart where there are many. For `mirror create` and `mirror update`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "In a fleet")]
pub(crate) struct Fleet {
    /// Only workers with this label run it. Repeat it: all of them are needed
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    placement: Option<Vec<(String, String)>>,
    /// A label. Repeat it
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Option<Vec<(String, String)>>,
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
}

impl Fleet {
    pub(crate) fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        let placement = self.placement.map(FromIterator::from_iter);
        mask.set(("placement", "--placement"), placement, &mut mirror.placement);
        mask.set(("labels", "--label"), self.labels.map(FromIterator::from_iter), &mut mirror.labels);
        mask.set(("display_name", "--display-name"), self.display_name, &mut mirror.display_name);
    }
}

/// Where a MirrorMaker 2 keeps the position to go on from. For `mirror create`; files of MirrorMaker's say it themselves.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Taking over from MirrorMaker 2")]
pub(crate) struct TakeOver {
    /// Go on exactly where a MirrorMaker 2 of this flow stops; nothing is copied while it runs
    #[arg(long, conflicts_with = "start_group")]
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
}

impl TakeOver {
    pub(crate) fn apply(self, mirror: &mut v1::Mirror, mask: &mut Mask) {
        let message = &mut mirror.take_over;
        mask.set(
            ("take_over", "--take-over"),
            self.take_over.then(|| Some(v1::TakeOver::default())),
            message,
        );
        mask.within(
            ("take_over.connector", "--take-over-connector"),
            self.take_over_connector,
            message,
            |take_over| &mut take_over.connector,
        );
        mask.within(
            ("take_over.offsets_topic", "--take-over-offsets-topic"),
            self.take_over_offsets_topic,
            message,
            |take_over| &mut take_over.offsets_topic,
        );
        mask.within(("take_over.group", "--take-over-group"), self.take_over_group, message, |take_over| {
            &mut take_over.group
        });
    }
}
