//! `twinlog cluster`

use std::path::PathBuf;

use clap::Subcommand;
use twinlog_proto::text::visible;
use twinlog_proto::v1;

use super::client_file::ClientFile;
use super::connect::{Connection, request_id};
use super::failure::{Failure, Kind};
use super::fields::key_value;
use super::flags;
use super::human;
use super::output::{Output, Table, json, json_list};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a cluster
    #[command(after_help = "Examples:\n  twinlog cluster add eu --bootstrap-servers eu-1:9092,eu-2:9092\n  \
                            twinlog cluster add us --properties-file us.properties --property 'sasl.password=${env:TWINLOG_SECRET_US}'\n\n  \
                            # Tokens of an OAuth server; security.protocol=SASL_SSL and sasl.mechanism=OAUTHBEARER stand in the file:\n  \
                            twinlog cluster add ap --properties-file ap.properties \\\n    \
                            --property sasl.oauthbearer.token.endpoint.url=https://login.example/token \\\n    \
                            --property sasl.oauthbearer.client.id=twinlog --property 'sasl.oauthbearer.client.secret=${file:/etc/twinlog/secrets/ap}'")]
    Add {
        /// Its id, also its alias in topic names: letters, digits, '_' and '-'
        id: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Change how a cluster is reached; mirrors that use it move over
    #[command(
        after_help = "Examples:\n  twinlog cluster update eu --bootstrap-servers eu-3:9092,eu-4:9092\n  \
                            twinlog cluster update us --property 'sasl.password=${env:TWINLOG_SECRET_US}' --remove-property ssl.key.password"
    )]
    Update {
        id: String,
        #[command(flatten)]
        cluster: ClusterArgs,
        /// Forget a property. Repeat it
        #[arg(long = "remove-property", value_name = "KEY")]
        removed: Vec<String>,
    },
    /// List the clusters
    List,
    /// Show one cluster
    Get { id: String },
    /// Let a worker connect: is it reachable, as whom, and is everything permitted?
    #[command(
        after_help = "Examples:\n  twinlog cluster test eu\n  twinlog cluster test --bootstrap-servers eu-1:9092"
    )]
    Test {
        /// A registered cluster; otherwise say how to reach it
        id: Option<String>,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Remove a cluster that no mirror uses
    #[command(alias = "delete")]
    Rm { id: String },
}

/// The flag for each field of a cluster.
const FLAGS: &[flags::Field] = &[
    ("cluster_id", "ID"),
    ("cluster.bootstrap_servers", "--bootstrap-servers"),
    ("cluster.properties", "--property, --properties-file"),
    ("cluster.labels", "--label"),
    ("cluster.display_name", "--display-name"),
];

fn refused(status: tonic::Status) -> Failure {
    Failure::of_flags(&status, |field| flags::flag_of(FLAGS, field))
}

#[derive(Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// HOST:PORT. Repeat it, or separate with commas
    #[arg(long, alias = "bootstrap", value_name = "HOST:PORT", value_delimiter = ',')]
    bootstrap_servers: Vec<String>,
    /// A Kafka client property; secrets as references: ${env:NAME} or ${file:/path}, resolved by workers. Repeat it
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = key_value)]
    properties: Vec<(String, String)>,
    /// A Kafka client properties file to take them from
    #[arg(long, value_name = "FILE")]
    properties_file: Option<PathBuf>,
    /// A label. Repeat it
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
}

impl ClusterArgs {
    fn is_empty(&self) -> bool {
        self.bootstrap_servers.is_empty() && self.properties.is_empty() && self.properties_file.is_none()
    }

    fn wire(self) -> Result<v1::Cluster, Failure> {
        let mut properties = match &self.properties_file {
            Some(path) => {
                let file = ClientFile::read(path)
                    .map_err(|e| Failure::usage(format!("cannot read the properties file {e}")))?;
                file.say(&[]);
                file.properties
            }
            None => Default::default(),
        };
        let in_file = properties.remove("bootstrap.servers").unwrap_or_default();
        properties.extend(self.properties);
        let mut bootstrap_servers = self.bootstrap_servers;
        if bootstrap_servers.is_empty() {
            bootstrap_servers =
                in_file.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
        }
        Ok(v1::Cluster {
            bootstrap_servers,
            properties: properties.into_iter().collect(),
            labels: self.labels.into_iter().collect(),
            display_name: self.display_name.unwrap_or_default(),
            ..v1::Cluster::default()
        })
    }
}

/// What was given over what is stored, with the mask of what was given; properties one by one.
fn update(
    stored: v1::Cluster,
    given: v1::Cluster,
    removed: &[String],
) -> Result<v1::UpdateClusterRequest, Failure> {
    let mut cluster = stored;
    let mut paths = Vec::new();
    if !given.bootstrap_servers.is_empty() {
        cluster.bootstrap_servers = given.bootstrap_servers;
        paths.push("bootstrap_servers".to_owned());
    }
    // One by one: what isn't named is not given again, so that stored credentials don't follow the servers unasked.
    let mut changed: Vec<String> = given.properties.keys().chain(removed).cloned().collect();
    changed.sort();
    changed.dedup();
    paths.extend(changed.into_iter().map(|key| format!("properties.`{key}`")));
    cluster.properties.extend(given.properties);
    cluster.properties.retain(|key, _| !removed.contains(key));
    if !given.labels.is_empty() {
        cluster.labels = given.labels;
        paths.push("labels".to_owned());
    }
    if !given.display_name.is_empty() {
        cluster.display_name = given.display_name;
        paths.push("display_name".to_owned());
    }
    if paths.is_empty() {
        return Err(Failure::usage(
            "nothing to change: give at least one flag; see twinlog cluster update --help",
        ));
    }
    Ok(v1::UpdateClusterRequest {
        cluster: Some(cluster),
        update_mask: Some(prost_types::FieldMask { paths }),
        request_id: request_id(),
        ..Default::default()
    })
}

pub(super) async fn execute(
    command: Command,
    connection: Connection,
    output: &Output,
) -> Result<(), Failure> {
    let mut client = connection.clusters();
    match command {
        Command::Add { id, cluster } => {
            let request = v1::CreateClusterRequest {
                cluster_id: id,
                cluster: Some(cluster.wire()?),
                request_id: request_id(),
                validate_only: false,
            };
            let cluster = client.create_cluster(request).await.map_err(refused)?.into_inner();
            output.show(json("Cluster", &cluster), || {
                format!("cluster {} registered", human::id(&cluster.name))
            })
        }
        Command::Update { id, cluster, removed } => {
            let request = v1::GetClusterRequest { name: format!("clusters/{id}") };
            let stored = client.get_cluster(request).await?.into_inner();
            let request = update(stored, cluster.wire()?, &removed)?;
            let paths = request.update_mask.iter().flat_map(|mask| &mask.paths);
            let mut fields: Vec<&str> =
                paths.map(|path| path.split('.').next().unwrap_or_default()).collect();
            fields.dedup();
            let changed = fields.join(", ");
            let cluster = client.update_cluster(request).await.map_err(refused)?.into_inner();
            output.show(json("Cluster", &cluster), || format!("cluster {id} changed: {changed}"))
        }
        Command::List => {
            let clusters = list(&connection).await?;
            output.show(json_list("Cluster", &clusters), || table(&clusters))
        }
        Command::Get { id } => {
            let request = v1::GetClusterRequest { name: format!("clusters/{id}") };
            let cluster = client.get_cluster(request).await?.into_inner();
            output.show(json("Cluster", &cluster), || describe(&cluster))
        }
        Command::Test { id, cluster } => {
            let request = match (id, cluster.is_empty()) {
                (Some(id), true) => v1::TestClusterRequest { name: format!("clusters/{id}"), cluster: None },
                (None, false) => {
                    v1::TestClusterRequest { name: String::new(), cluster: Some(cluster.wire()?) }
                }
                _ => {
                    return Err(Failure::usage(
                        "give the id of a registered cluster, or --bootstrap-servers, not both",
                    ));
                }
            };
            let tested = client.test_cluster(request).await.map_err(refused)?.into_inner();
            output.show(json("TestClusterResponse", &tested), || test_result(&tested))?;
            verdict(&tested)
        }
        Command::Rm { id } => {
            let request = v1::DeleteClusterRequest {
                name: format!("clusters/{id}"),
                request_id: request_id(),
                ..Default::default()
            };
            client.delete_cluster(request).await?;
            output.show(serde_json::json!({ "deleted": format!("clusters/{id}") }), || {
                format!("cluster {id} removed")
            })
        }
    }
}

/// All pages.
pub(super) async fn list(connection: &Connection) -> Result<Vec<v1::Cluster>, Failure> {
    let (mut clusters, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListClustersRequest { page_size: 1000, page_token };
        let page = connection.clusters().list_clusters(request).await?.into_inner();
        clusters.extend(page.clusters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(clusters);
        }
    }
}

fn table(clusters: &[v1::Cluster]) -> String {
    if clusters.is_empty() {
        return "no clusters yet; register one: twinlog cluster add ID --bootstrap-servers HOST:PORT"
            .to_owned();
    }
    let mut table = Table::new(["ID", "BOOTSTRAP SERVERS", "SECURITY", "NAME"]);
    for cluster in clusters {
        let security =
            cluster.properties.get("security.protocol").cloned().unwrap_or_else(|| "PLAINTEXT".to_owned());
        let servers = cluster.bootstrap_servers.join(",");
        table.row([human::id(&cluster.name), servers, security, cluster.display_name.clone()]);
    }
    table.render()
}

fn describe(cluster: &v1::Cluster) -> String {
    let mut lines = vec![
        format!("cluster            {}", human::id(&cluster.name)),
        format!("bootstrap servers  {}", cluster.bootstrap_servers.join(",")),
    ];
    if !cluster.display_name.is_empty() {
        lines.push(format!("name               {}", visible(&cluster.display_name)));
    }
    for (title, map) in [("property", &cluster.properties), ("label", &cluster.labels)] {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort();
        lines.extend(
            entries
                .into_iter()
                .map(|(key, value)| format!("{title:<19}{}", visible(&format!("{key}={value}")))),
        );
    }
    lines.push(format!("etag               {}", cluster.etag));
    lines.join("\n")
}

fn test_result(tested: &v1::TestClusterResponse) -> String {
    if !tested.reachable {
        return format!(
            "not reachable from {}: {}",
            human::id(&tested.worker),
            tested.cause.as_ref().map(super::human::cause).unwrap_or_default()
        );
    }
    let mechanism =
        if tested.sasl_mechanism.is_empty() { String::new() } else { format!(" {}", tested.sasl_mechanism) };
    let principal =
        if tested.principal.is_empty() { String::new() } else { format!(" as {}", tested.principal) };
    let mut lines = vec![format!(
        "reachable from {}: cluster {}, Kafka {}, {} brokers, {}{mechanism}{principal}",
        human::id(&tested.worker),
        tested.kafka_cluster_id,
        tested.broker_version,
        tested.brokers,
        tested.security_protocol,
    )];
    let mut table = Table::new(["", "OPERATION", "RESOURCE", "NEEDED FOR"]);
    for check in &tested.checks {
        let mark = if check.allowed { "ok" } else { "DENIED" };
        let resource = format!("{} {}", check.resource_type, check.resource_name);
        table.row([mark.to_owned(), check.operation.clone(), resource, check.needed_for.clone()]);
    }
    if !table.is_empty() {
        lines.push(table.render());
    }
    lines.join("\n")
}

/// What was found decides the exit code too.
fn verdict(tested: &v1::TestClusterResponse) -> Result<(), Failure> {
    let denied: Vec<&str> =
        tested.checks.iter().filter(|c| !c.allowed).map(|c| c.operation.as_str()).collect();
    if !tested.reachable {
        Err(Failure::new(Kind::Unavailable, "the cluster can't be used")
            .next("check bootstrap servers, network and credentials as seen from the worker"))
    } else if denied.is_empty() {
        Ok(())
    } else {
        let message = format!("{} of {} permissions are missing", denied.len(), tested.checks.len());
        Err(Failure::new(Kind::NotPermitted, message)
            .next("grant what is marked DENIED to the principal shown"))
    }
}
