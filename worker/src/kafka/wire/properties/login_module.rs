//! The login module in `sasl.jaas.config`, which must be the one of the mechanism.

use twinlog_proto::jaas::{self, Jaas};

use super::bag::Bag;
use crate::kafka::wire::error::KafkaError;

pub(super) fn login_module(bag: &Bag<'_>, text: &str, module: &str) -> Result<Jaas, KafkaError> {
    let jaas = jaas::parse(text).map_err(|why| bag.wrong(&format!("property sasl.jaas.config: {why}")))?;
    if jaas.module != module {
        // A module's name that came out of a file is the file's, and not shown.
        let from_reference =
            bag.reference("sasl.jaas.config").is_some_and(|given| jaas::parse(given).is_err());
        let found = if from_reference { "another (hidden)" } else { &jaas.module };
        return Err(bag.wrong(&format!(
            "property sasl.jaas.config: sasl.mechanism needs {module}, but the login module is {found}"
        )));
    }
    Ok(jaas)
}
