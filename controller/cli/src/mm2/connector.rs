//! The configuration of one MM2 connector: its clients (mirrormaker2 reference 1.3), its values, and what MM2 itself refuses (1.4-1.6).

use super::keys;
use super::providers::Providers;
use super::{Props, list};

/// Which end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

impl Side {
    fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
    Admin,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Producer, Self::Consumer, Self::Admin];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Admin => "admin",
        }
    }
}

/// A value that MM2 or Twinlog can't use: the connector's key, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) key: String,
    pub(crate) what: String,
}

/// A connector's configuration, references unresolved.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    props: Props,
    providers: Providers,
}

/// What a source consumer needs for exactly-once (KIP-618).
const READ_COMMITTED: &str = "read_committed";

impl Connector {
    pub(crate) fn new(props: Props, providers: &Providers) -> Self {
        Self { props, providers: providers.clone() }
    }

    pub(crate) fn props(&self) -> &Props {
        &self.props
    }

    /// The value without blanks around it, as Kafka takes it, and with its references resolved here: what a mirror itself must know
    /// can't stay a reference.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, Invalid> {
        let Some(value) = self.props.get(key) else { return Ok(None) };
        if !value.contains("${") {
            return Ok(Some(value.trim().to_owned()));
        }
        let resolved = self
            .providers
            .translate(value)
            .and_then(|reference| twinlog_proto::secret::resolve(&reference).map_err(|e| e.to_string()));
        match resolved {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(what) => Err(Invalid { key: key.to_owned(), what }),
        }
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, Invalid> {
        match self.text(key)?.as_deref().map(str::trim) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => {
                Err(Invalid { key: key.to_owned(), what: format!("{text:?} is neither true nor false") })
            }
        }
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, Invalid> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Invalid { key: key.to_owned(), what: format!("{text:?} is not a whole number") }),
        }
    }

    /// A list of Java patterns with the meaning that MM2 gives it: split at commas, joined with `|` to one pattern.
    pub(crate) fn patterns(&self, key: &str) -> Result<Option<Vec<String>>, Invalid> {
        Ok(self.text(key)?.map(|text| patterns(&text)))
    }

    /// A client's properties: security of its cluster, the role's own over it, the side's role over that.
    fn client(&self, side: Side, role: Role) -> Props {
        let cluster = format!("{}.cluster.", side.as_str());
        let sided = format!("{}.{}.", side.as_str(), role.as_str());
        let common = format!("{}.", role.as_str());
        let under = |prefix: String| {
            self.props
                .iter()
                .filter_map(move |(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value.clone())))
        };
        let mut props: Props = under(cluster).filter(|(key, _)| keys::is_client_key(key)).collect();
        props.extend(under(common));
        props.extend(under(sided));
        props
    }

    #[cfg(test)]
    /// A client as MM2 makes it: with its defaults, and named after flow, connector, task and purpose.
    pub(crate) fn client_config(&self, side: Side, role: Role, task: Option<u32>, purpose: &str) -> Props {
        let mut props = self.client(side, role);
        if role == Role::Consumer {
            props.insert("enable.auto.commit".into(), "false".into());
            props.entry("auto.offset.reset".into()).or_insert_with(|| "earliest".into());
        }
        let get = |key: &str| self.props.get(key).map_or("?", String::as_str);
        let user = props.get("client.id").map(|id| format!("{id}|")).unwrap_or_default();
        let target = self.props.get("target.cluster.alias").map_or("target", String::as_str);
        let task = task.map(|index| format!("-{index}")).unwrap_or_default();
        let id = format!("{user}{}->{target}|{}{task}|{purpose}", get("source.cluster.alias"), get("name"));
        props.insert("client.id".into(), id);
        props
    }

    /// The client properties of one side and role that come from the file, without those that MM2 adds.
    pub(super) fn given(&self, side: Side, role: Role) -> Props {
        let translate = |value: String| self.providers.translate(&value).unwrap_or(value);
        self.client(side, role).into_iter().map(|(key, value)| (key, translate(value))).collect()
    }

    /// Where offset syncs live.
    pub(crate) fn offset_syncs_side(&self) -> Result<Side, Invalid> {
        const KEY: &str = "offset-syncs.topic.location";
        match self.text(KEY)?.as_deref().map(str::trim) {
            None | Some("source") => Ok(Side::Source),
            Some("target") => Ok(Side::Target),
            Some(other) => {
                Err(Invalid { key: KEY.to_owned(), what: format!("{other:?} is neither source nor target") })
            }
        }
    }

    /// MM2's own answer to whether exactly-once delivery is possible.
    pub(crate) fn supports_exactly_once(&self) -> bool {
        let common = self.props.get("consumer.isolation.level");
        self.props
            .get("source.consumer.isolation.level")
            .or(common)
            .is_some_and(|level| level == READ_COMMITTED)
    }

    /// What MM2 refuses whatever the connector.
    pub(crate) fn refused(&self) -> Vec<Invalid> {
        const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
        let mut found = Vec::new();
        if let Some(given) = self.props.get("security.protocol")
            && !PROTOCOLS.iter().any(|known| given.trim().eq_ignore_ascii_case(known))
        {
            let what = format!("{given:?} is none of {}", PROTOCOLS.join(", "));
            found.push(Invalid { key: "security.protocol".to_owned(), what });
        }
        found
    }

    /// What MM2's source connector refuses.
    pub(crate) fn refused_as_source(&self) -> Vec<Invalid> {
        let mut found = self.refused();
        found.extend(self.number("offset.lag.max").err());
        if self.props.get("exactly.once.support").is_some_and(|s| s.eq_ignore_ascii_case("required"))
            && !self.supports_exactly_once()
        {
            let what = format!("required needs a source consumer with isolation.level={READ_COMMITTED}");
            found.push(Invalid { key: "exactly.once.support".to_owned(), what });
        }
        let syncs = self.flag("emit.offset-syncs.enabled", true);
        if matches!(syncs, Ok(false))
            && let Some(key) = self.props.keys().find(|key| key.starts_with("offset-syncs"))
        {
            let what = format!("false leaves no use for {key}: remove one of them");
            found.push(Invalid { key: "emit.offset-syncs.enabled".to_owned(), what });
        }
        found
    }

    /// What MM2's checkpoint connector refuses; nothing where it is not enabled.
    pub(crate) fn refused_as_checkpoint(&self) -> Vec<Invalid> {
        if matches!(self.flag("enabled", true), Ok(false)) {
            return Vec::new();
        }
        let mut found = self.refused();
        for key in ["emit.checkpoints.enabled", "emit.offset-syncs.enabled"] {
            if matches!(self.flag(key, true), Ok(false)) {
                let what = "false, and then MM2 doesn't create the checkpoint connector";
                found.push(Invalid { key: key.to_owned(), what: what.to_owned() });
            }
        }
        found
    }
}

/// As MM2 splits and joins: a comma within a pattern, and an inline flag that reaches into the patterns after it, keep the
/// meaning they have there.
pub(super) fn patterns(text: &str) -> Vec<String> {
    use twinlog_proto::filter::Filter;
    let items = list(text);
    let alone = |item: &String| {
        !item.contains("(?") && Filter::new(std::slice::from_ref(item), &[] as &[&str]).is_ok()
    };
    if items.iter().all(alone) { items } else { vec![items.join("|")] }
}

#[cfg(test)]
mod tests;
