//! `twinlog worker`

use std::time::Duration;

use clap::Subcommand;
use twinlog_proto::v1;

use super::connect::Connection;
use super::failure::Failure;
use super::human;
use super::output::{Output, Table, json, json_list};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the workers that are connected
    List,
    /// Move everything off a worker, range by range, and give it nothing more
    #[command(after_help = "Example:\n  twinlog worker drain host-42-7f3a && systemctl stop twinlog-worker")]
    Drain {
        id: String,
        /// Take a drain back
        #[arg(long)]
        cancel: bool,
    },
}

pub(super) async fn execute(
    command: Command,
    connection: Connection,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        Command::List => {
            let workers = list(&connection).await?;
            output.show(json_list("Worker", &workers.workers), || table(&workers))
        }
        Command::Drain { id, cancel } => {
            let request = v1::DrainWorkerRequest { name: format!("workers/{id}"), cancel };
            let worker = connection.fleet().drain_worker(request).await?.into_inner();
            output.show(json("Worker", &worker), || match cancel {
                true => format!("worker {id} takes work again"),
                false => format!(
                    "worker {id} is being drained, {} ranges to go; see: twinlog worker list",
                    worker.ranges()
                ),
            })
        }
    }
}

/// The fleet.
pub(super) struct Workers {
    pub(super) workers: Vec<v1::Worker>,
    /// There may be more: a new leader still waits for some.
    settling: bool,
}

/// All pages.
pub(super) async fn list(connection: &Connection) -> Result<Workers, Failure> {
    let (mut workers, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListWorkersRequest { page_size: 1000, page_token };
        let page = connection.fleet().list_workers(request).await?.into_inner();
        workers.extend(page.workers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(Workers { workers, settling: page.settling });
        }
    }
}

pub(super) fn table(Workers { workers, settling }: &Workers) -> String {
    let settling = *settling;
    if workers.is_empty() && settling {
        return "no worker has come back to the new leader yet; what they run goes on: look again in some seconds".to_owned();
    }
    if workers.is_empty() {
        return "no workers are connected; start one: twinlog-worker --controller URL".to_owned();
    }
    let mut table = Table::new([
        "WORKER",
        "STATE",
        "RANGES",
        "RECORDS/S",
        "BYTES/S",
        "MEMORY",
        "LAST REPORT",
        "LABELS",
        "CAUSE",
    ]);
    workers.iter().for_each(|worker| table.row(row(worker)));
    table.render()
}

fn row(worker: &v1::Worker) -> [String; 9] {
    let unknown = worker.state() == v1::worker::State::NotBack;
    let known = |text: String| if unknown { "unknown".to_owned() } else { text };
    let mut labels: Vec<String> = worker.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.sort();
    let ranges = match worker.capacity {
        0 => worker.ranges().to_string(),
        capacity => format!("{}/{capacity}", worker.ranges()),
    };
    let memory = format!(
        "{} of {}",
        human::bytes(worker.memory_bytes() as f64),
        human::bytes(worker.memory_limit_bytes as f64)
    );
    let silent = worker.since_last_report.and_then(|d| Duration::try_from(d).ok());
    [
        human::id(&worker.name),
        human::state(worker.state().short_name()),
        known(ranges),
        known(human::rate(worker.records_per_second())),
        known(human::bytes(worker.bytes_per_second())),
        known(memory),
        silent.map(|d| format!("{} ago", human::duration(d))).unwrap_or_default(),
        known(labels.join(",")),
        worker.cause.as_ref().map(human::cause).unwrap_or_default(),
    ]
}
