//! `twinlog mirror list`, and statuses page by page.

use std::collections::HashMap;

use twinlog_proto::v1;

use super::super::connect::Connection;
use super::super::failure::Failure;
use super::super::output::{Output, json_list};
use super::show;

/// What a page holds at most.
const PAGE_SIZE: i32 = 1_000;

pub(super) const EXAMPLES: &str = "\
Examples:
  twinlog mirror list --filter 'state != ACTIVE'
  twinlog mirror list --filter 'source = eu AND totals.lag_records > 1000' --order-by 'totals.lag_records desc'
  twinlog mirror list --filter 'causes.reason:CLUSTER_UNREACHABLE'

Fields: mirror, source, target, state, causes.reason (not to order by) and totals.lag_records. OR binds closer than AND, and * at either
end of a name stands for anything.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these: comparisons of fields, with AND and OR between them
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// In this order: fields with commas between them, each with `desc` behind it where it is to be the other way round
    #[arg(long, value_name = "FIELDS", default_value = "", hide_default_value = true)]
    order_by: String,
}

pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let Args { filter, order_by } = args;
    if output.is_table() {
        let statuses = statuses(&connection, &filter, &order_by).await?;
        let chosen = !filter.is_empty();
        return output.show(serde_json::Value::Null, || show::table(&statuses, chosen));
    }
    let mut mirrors = mirrors(&connection).await?;
    if !filter.is_empty() || !order_by.is_empty() {
        let mut by_name: HashMap<_, _> = mirrors.into_iter().map(|m| (m.name.clone(), m)).collect();
        let statuses = statuses(&connection, &filter, &order_by).await?;
        mirrors = statuses.iter().filter_map(|status| by_name.remove(&status.mirror)).collect();
    }
    output.show(json_list("Mirror", &mirrors), String::new)
}

/// All pages.
pub(crate) async fn mirrors(connection: &Connection) -> Result<Vec<v1::Mirror>, Failure> {
    let (mut mirrors, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListMirrorsRequest { page_size: PAGE_SIZE, page_token };
        let page = connection.mirrors().list_mirrors(request).await?.into_inner();
        mirrors.extend(page.mirrors);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(mirrors);
        }
    }
}

/// All pages.
pub(crate) async fn statuses(
    connection: &Connection,
    filter: &str,
    order_by: &str,
) -> Result<Vec<v1::MirrorStatus>, Failure> {
    let mut statuses = Vec::new();
    let mut request = v1::ListMirrorStatusesRequest {
        parent: "mirrors/-".to_owned(),
        page_size: PAGE_SIZE,
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        ..Default::default()
    };
    loop {
        let page = connection.mirrors().list_mirror_statuses(request.clone()).await?.into_inner();
        statuses.extend(page.mirror_statuses);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(statuses);
        }
    }
}

/// One status with the topics of all pages.
pub(super) async fn status(connection: &Connection, name: &str) -> Result<v1::MirrorStatus, Failure> {
    let ask = async |topic_page_token| {
        let request =
            v1::GetMirrorStatusRequest { name: name.to_owned(), topic_page_token, ..Default::default() };
        connection.mirrors().get_mirror_status(request).await
    };
    let mut status = ask(String::new()).await?.into_inner();
    while !status.next_topic_page_token.is_empty() {
        let page = ask(std::mem::take(&mut status.next_topic_page_token)).await?.into_inner();
        status.topics.extend(page.topics);
        status.next_topic_page_token = page.next_topic_page_token;
    }
    Ok(status)
}
