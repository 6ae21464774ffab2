//! `twinlog status`: everything at a glance.

use twinlog_proto::v1;

use super::connect::Connection;
use super::failure::Failure;
use super::output::{Output, json_list};
use super::{mirror, worker};

pub(super) async fn show(connection: Connection, output: &Output) -> Result<(), Failure> {
    let workers = worker::list(&connection).await?;
    let mut statuses = Vec::new();
    for mirror in mirror::list(&connection).await? {
        let request = v1::GetMirrorStatusRequest { name: mirror.name.clone() };
        let status = connection.mirrors().get_mirror_status(request).await?.into_inner();
        statuses.push((mirror, status));
    }
    let value = serde_json::json!({
        "controller": connection.controller,
        "workers": json_list("Worker", &workers.workers),
        "mirrors": json_list("MirrorStatus", &statuses.iter().map(|(_, status)| status.clone()).collect::<Vec<_>>()),
    });
    output.show(value, || {
        let workers = worker::table(&workers);
        format!(
            "controller {}\n\n{}\n\n{}",
            connection.controller,
            workers.trim_end(),
            mirror::table(&statuses)
        )
    })
}
