//! A disk that is full for a while: said by name, and over by itself once there is room. Nothing that was confirmed is lost.
//!
//! The disk is a limit on the size of the process's files, which needs no rights: writing beyond it fails as on a full disk.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use twinlog_proto::reason;
use twinlog_proto::v1;
use twinlog_proto::v1::cluster_service_client::ClusterServiceClient;

const PATIENCE: Duration = Duration::from_secs(20);

struct Controller {
    process: Child,
    dir: TempDir,
    port: u16,
}

impl Controller {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Without the trap the system ends whoever writes beyond the limit.
        let run = "trap '' XFSZ; exec \"$0\" --data \"$1\" --listen \"$2\" >\"$1.log\" 2>&1";
        let process = Command::new("sh")
            .args(["-c", run, env!("CARGO_BIN_EXE_twinlog-controller")])
            .arg(dir.path().join("data"))
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, dir, port }
    }

    fn clusters(&self) -> ClusterServiceClient<Channel> {
        let url = format!("http://127.0.0.1:{}", self.port);
        ClusterServiceClient::new(Endpoint::from_shared(url).unwrap().connect_lazy())
    }

    /// Largest file that the process may write, bytes.
    fn limit(&self, bytes: &str) {
        let done = Command::new("prlimit")
            .args(["--pid", &self.process.id().to_string(), &format!("--fsize={bytes}:unlimited")])
            .status()
            .expect("prlimit (util-linux) is installed");
        assert!(done.success());
    }

    fn fill(&self) {
        let file = self.dir.path().join("data/twinlog.redb");
        self.limit(&file.metadata().unwrap().len().to_string());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("data.log")).unwrap()
    }

    /// What `/readyz` answers, with its status line.
    async fn readyz(&self) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await else {
            return String::new();
        };
        let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn until_ready_says(&self, parts: &[&str]) {
        let began = Instant::now();
        loop {
            let said = self.readyz().await;
            if parts.iter().all(|part| said.contains(part)) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{said}, not {parts:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cluster(id: &str) -> v1::CreateClusterRequest {
    let servers = vec!["host:9092".to_owned()];
    // Large, so that the file has to grow.
    let properties = [("ssl.ca.pem".to_owned(), "x".repeat(60_000))].into();
    let cluster = v1::Cluster { bootstrap_servers: servers, properties, ..Default::default() };
    v1::CreateClusterRequest { cluster_id: id.to_owned(), cluster: Some(cluster), ..Default::default() }
}

async fn names(controller: &Controller) -> Vec<String> {
    let all = v1::ListClustersRequest { page_size: 1_000, ..Default::default() };
    let all = controller.clusters().list_clusters(all).await.unwrap().into_inner();
    all.clusters.into_iter().map(|cluster| cluster.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named_and_over_once_there_is_room() {
    let controller = Controller::start();
    controller.until_ready_says(&["200 OK"]).await;
    let mut confirmed = Vec::new();
    for round in 0..2 {
        controller.fill();
        let mut refused = None;
        for i in 0..1_000 {
            match controller.clusters().create_cluster(cluster(&format!("c{round}-{i:04}"))).await {
                Ok(made) => confirmed.push(made.into_inner().name),
                Err(status) => {
                    refused = Some(status);
                    break;
                }
            }
        }
        let refused = refused.expect("the disk is full at some time");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert_eq!(reason::reason_of(&refused).as_deref(), Some("STORE_UNAVAILABLE"));
        for said in ["no space left", "twinlog.redb", "make room"] {
            assert!(refused.message().contains(said), "{}", refused.message());
        }
        controller.until_ready_says(&["503", "no space left", "make room"]).await;
        let known = names(&controller).await;
        assert!(confirmed.iter().all(|name| known.contains(name)), "reads go on meanwhile");
        // It is said once, however often it is tried.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let said = controller.log().lines().filter(|line| line.contains("no space left")).count();
        assert!(said <= 6 * (round + 1), "{said} lines\n{}", controller.log());

        controller.limit("unlimited");
        controller.until_ready_says(&["200 OK"]).await;
        let made = controller.clusters().create_cluster(cluster(&format!("after-{round}"))).await.unwrap();
        confirmed.push(made.into_inner().name);
        let known = names(&controller).await;
        let lost: Vec<_> = confirmed.iter().filter(|name| !known.contains(name)).collect();
        assert!(lost.is_empty(), "{lost:?} are lost");
    }
}
