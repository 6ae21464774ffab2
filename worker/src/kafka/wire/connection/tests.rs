//! What comes over a connection, under attack: a server that says anything, from the first byte on.

use kafka_protocol::messages as m;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use tokio::net::TcpListener;
use twinlog_proto::id::ClusterId;
use twinlog_proto::model;

use super::link::{Link, Pieces};
use super::*;
use crate::fuzz::{Random, Target, attack, dream};

/// A server that has said everything closes, and a connection that waits for more notices that at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is read to, and sockets and tasks of both sides.
const MEMORY: usize = 6 << 20;

fn properties(of: &[(&str, &str)]) -> ClientProperties {
    ClientProperties::resolve(&model::Cluster {
        id: ClusterId::new("eu").unwrap(),
        bootstrap_servers: vec!["b1:9092".to_owned()],
        properties: of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    })
    .unwrap()
}

fn frame(correlation: i32, header_version: i16, body: &[u8]) -> Vec<u8> {
    let header = ResponseHeader::default().with_correlation_id(correlation);
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, header_version).unwrap();
    bytes.extend_from_slice(body);
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

/// What a broker says first, in reply to the first request.
fn greeting() -> Vec<u8> {
    let keys = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate, ApiKey::Metadata, ApiKey::Fetch];
    let keys = keys.map(|key| {
        let (min, max) = (key.valid_versions().min, key.valid_versions().max);
        ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
    });
    let mut body = BytesMut::new();
    m::ApiVersionsResponse::default().with_api_keys(keys.to_vec()).encode(&mut body, 3).unwrap();
    frame(1, 0, &body)
}

async fn served(input: Vec<u8>, client: impl Future<Output = String>, listener: &TcpListener) -> String {
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The client may be gone already.
        let _ = stream.write_all(&input).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    tokio::join!(server, client).1
}

async fn over_link(peer: &str, properties: &ClientProperties) -> Result<usize, KafkaError> {
    let mut link = Link::open(peer, properties, PATIENCE).await?;
    let ours = Versions { min: 4, max: 12 };
    let version = link.version(ApiKey::Fetch, ours)?;
    link.send(ApiKey::Fetch, version, Pieces::default()).await?;
    link.send(ApiKey::Fetch, version, Pieces::default()).await?;
    Ok(link.next().await?.len() + link.next().await?.len())
}

async fn over_connection(peer: &str, properties: &ClientProperties) -> Result<usize, KafkaError> {
    let mut connection = Connection::open(peer, properties).await?;
    let build = |_| Ok(m::MetadataRequest::default());
    Ok(connection.call::<m::MetadataRequest>(&build).await?.1.topics.len())
}

/// The first byte says which of both ways to read is attacked.
#[test]
fn fuzz_connections() {
    let mut random = Random::new(5);
    let handshake = [&[0, 0, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat();
    let metadata = dream::<m::MetadataResponse>(12, &mut random);
    let login = [frame(2, 0, &handshake), frame(3, 1, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0])].concat();
    let seeds = vec![
        [vec![0], greeting(), login, frame(4, 1, &metadata)].concat(),
        [vec![1], greeting(), frame(2, 1, b"one"), frame(3, 1, b"other")].concat(),
        [vec![1], frame(1, 0, &[0, 35, 0, 0, 0, 0])].concat(),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let peer = listener.local_addr().unwrap().to_string();
    let login = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")];
    let login = [&login[..], &[("sasl.username", "me"), ("sasl.password", "hush")]].concat();
    let (plain, login) = (properties(&[]), properties(&login));
    let answers = [
        runtime.block_on(served(seeds[0][1..].to_vec(), shown(over_connection(&peer, &login)), &listener)),
        runtime.block_on(served(seeds[1][1..].to_vec(), shown(over_link(&peer, &plain)), &listener)),
    ];
    assert!(answers.iter().all(|answer| answer.starts_with("Ok")), "{answers:?}");
    let memory = |bytes: usize| MEMORY + bytes * 64;
    attack(Target { name: "connections", seeds, memory, repair: None }, |input| {
        let Some((way, bytes)) = input.split_first() else { return String::new() };
        runtime.block_on(async {
            match way % 2 {
                0 => served(bytes.to_vec(), shown(over_connection(&peer, &login)), &listener).await,
                _ => served(bytes.to_vec(), shown(over_link(&peer, &plain)), &listener).await,
            }
        })
    });
}

async fn shown(call: impl Future<Output = Result<usize, KafkaError>>) -> String {
    match call.await {
        Ok(bytes) => format!("Ok {bytes}"),
        Err(error) => {
            assert!(!error.message.contains("hush"));
            error.message
        }
    }
}
