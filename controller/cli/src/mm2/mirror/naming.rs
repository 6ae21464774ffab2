//! How a flow names topics: its replication policy, separator and aliases, as MM2's own policies read them.

use twinlog_proto::v1;

use super::Reader;
use crate::mm2::connector::{Connector, Invalid};
use crate::mm2::flow::FlowView;

const CLASS: &str = "replication.policy.class";
const SEPARATOR: &str = "replication.policy.separator";
const INTERNAL_SEPARATOR: &str = "replication.policy.internal.topic.separator.enabled";
const ALIASES: [&str; 2] = ["source.cluster.alias", "target.cluster.alias"];
const DEFAULT: &str = "org.apache.kafka.connect.mirror.DefaultReplicationPolicy";
pub(super) const IDENTITY: &str = "org.apache.kafka.connect.mirror.IdentityReplicationPolicy";

/// Simple names of policies that others have published under packages of their own, all to keep topic names.
const PREFIXLESS: &[&str] = &[
    "IdentityReplicationPolicy",
    "PrefixlessReplicationPolicy",
    "PrefixLessReplicationPolicy",
    "NoPrefixReplicationPolicy",
    "RetainTopicNameReplicationPolicy",
];
/// The same whose simple names don't say it.
const PREFIXLESS_CLASSES: &[&str] = &[
    // AWS's samples for MSK.
    "com.amazonaws.kafka.samples.CustomMM2ReplicationPolicy",
];

/// What a replication policy's class is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mm2) enum Policy {
    /// One of Kafka's, or the one that Strimzi shipped before Kafka had it; they behave alike.
    Known(v1::naming::Kind),
    /// Somebody's own, known to keep names.
    Prefixless,
    /// A class of Kafka's without its package, which Java doesn't find: the whole name.
    Short(&'static str),
    Unknown,
}

impl Policy {
    pub(in crate::mm2) fn of(class: &str) -> Self {
        let (package, simple) = class.rsplit_once('.').unwrap_or(("", class));
        match (package, simple) {
            _ if class == DEFAULT => Self::Known(v1::naming::Kind::Prefix),
            _ if class == IDENTITY => Self::Known(v1::naming::Kind::Identity),
            ("io.strimzi.kafka.connect.mirror", "IdentityReplicationPolicy") => {
                Self::Known(v1::naming::Kind::Identity)
            }
            ("", "IdentityReplicationPolicy") => Self::Short(IDENTITY),
            ("", "DefaultReplicationPolicy") => Self::Short(DEFAULT),
            ("", _) => Self::Unknown,
            _ if PREFIXLESS_CLASSES.contains(&class) || PREFIXLESS.contains(&simple) => Self::Prefixless,
            _ => Self::Unknown,
        }
    }

    fn kind(self) -> v1::naming::Kind {
        match self {
            Self::Known(kind) => kind,
            Self::Prefixless => v1::naming::Kind::Identity,
            // The audit's to refuse.
            Self::Short(_) | Self::Unknown => v1::naming::Kind::Prefix,
        }
    }
}

pub(super) fn read(flow: &FlowView, connector: &Connector, reader: &mut Reader) -> v1::Naming {
    let class = reader.take(connector.text(CLASS)).flatten();
    let kind = class.as_deref().map_or(v1::naming::Kind::Prefix, |class| Policy::of(class).kind());
    let separator = reader.take(connector.text(SEPARATOR)).flatten();
    let own = reader.flag(connector, INTERNAL_SEPARATOR, true);
    let [source, target] = ALIASES.map(|key| reader.take(connector.text(key)).flatten());
    if kind == v1::naming::Kind::Identity && source.is_some() && source == target {
        let what = "it is the source's, too: with this policy MirrorMaker takes every topic for one that comes back, and copies nothing. Remove both keys, or give another one";
        reader.invalid.push(Invalid { key: ALIASES[1].to_owned(), what: what.to_owned() });
    }
    let naming = v1::Naming {
        kind: kind.into(),
        // MM2 reads the flag only where a separator is given.
        separator_in_internal_topics: separator.as_ref().map(|_| own),
        no_separator: separator.as_deref() == Some(""),
        separator: separator.unwrap_or_default(),
        source_alias: source.filter(|alias| *alias != flow.source),
        target_alias: target.filter(|alias| *alias != flow.target),
        ..v1::Naming::default()
    };
    reader.notes.extend(said(&naming, flow));
    reader.invalid.extend(differing(flow));
    naming
}

/// What the names mean, where somebody could be surprised.
fn said(naming: &v1::Naming, flow: &FlowView) -> Option<String> {
    let target = naming.target_alias.as_deref().unwrap_or(&flow.target);
    let one = naming.no_separator && naming.kind() == v1::naming::Kind::Prefix && target.chars().count() == 1;
    one.then(|| {
        format!(
            "without a separator MirrorMaker takes every character of a topic's name for an alias: topics with {target:?} before their last character count as copies of {target}, and are not copied"
        )
    })
}

/// MM2 reads the policy in every connector of its own. Where the one that translates offsets has another than the one that
/// copies, it translates none.
fn differing(flow: &FlowView) -> Option<Invalid> {
    let (source, checkpoint) = (flow.source_connector.as_ref()?, flow.checkpoint_connector.as_ref()?);
    let of =
        |connector: &Connector, key: &str| connector.props().get(key).map(|value| value.trim().to_owned());
    let differs = |key: &&&str| match (of(source, key), of(checkpoint, key)) {
        (Some(one), Some(other)) => one != other,
        _ => false,
    };
    let key = [CLASS, SEPARATOR, ALIASES[0], ALIASES[1]].iter().find(differs).copied()?;
    let what = format!(
        "{:?} for the source connector and {:?} for the checkpoint connector: MirrorMaker would translate no offsets. Give both the same",
        of(source, key).unwrap_or_default(),
        of(checkpoint, key).unwrap_or_default(),
    );
    Some(Invalid { key: key.to_owned(), what })
}

/// What only the source connector says of it: that counts for all.
pub(in crate::mm2) fn said_once(flow: &FlowView) -> Option<String> {
    let (source, checkpoint) = (flow.source_connector.as_ref()?, flow.checkpoint_connector.as_ref()?);
    let lone = |key: &&&str| source.props().contains_key(**key) != checkpoint.props().contains_key(**key);
    let key = [CLASS, SEPARATOR].iter().find(lone).copied()?;
    Some(format!(
        "{key} is said of only one of the source and the checkpoint connector, which MirrorMaker would take for two different namings, and translate no offsets: here the source connector's counts for both"
    ))
}
