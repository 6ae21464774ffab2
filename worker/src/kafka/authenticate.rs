//! SASL on a new connection.

use std::time::Duration;

use super::KafkaError;
use super::connection::Connection;

pub(super) async fn authenticate(_connection: &mut Connection) -> Result<Option<Duration>, KafkaError> {
    Ok(None)
}
