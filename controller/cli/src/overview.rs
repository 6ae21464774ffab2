//! `twinlog status`: everything at a glance.

use super::connect::Connection;
use super::failure::Failure;
use super::output::{Output, json_list};
use super::{mirror, worker};

pub(super) async fn show(connection: Connection, output: &Output) -> Result<(), Failure> {
    let workers = worker::list(&connection).await?;
    let statuses = mirror::statuses(&connection, "", "").await?;
    let value = serde_json::json!({
        "controller": connection.controller,
        "workers": json_list("Worker", &workers.workers),
        "mirrors": json_list("MirrorStatus", &statuses),
    });
    output.show(value, || {
        let workers = worker::table(&workers);
        format!(
            "controller {}\n\n{}\n\n{}",
            connection.controller,
            workers.trim_end(),
            mirror::table(&statuses, false)
        )
    })
}
