//! Whatever a request holds, its refusal is quick and fits into a client's headers: each text, list and map of each method is filled in
//! turn.

use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor, Value,
};
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};
use twinlog_proto::FILE_DESCRIPTOR_SET;
use twinlog_proto::reason::{self, Reason};
use twinlog_proto::v1;

use crate::service::{Service, create_cluster, create_mirror, expect};

/// What a client takes in all, bytes.
const HEADERS: usize = 8 << 10;
/// A call that is refused for its size, and one beside it, take no longer; a defect here took tens of seconds.
const QUICK: Duration = Duration::from_millis(900);
/// Messages as bytes.
#[derive(Clone, Copy)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Plain {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        bytes::Buf::advance(buffer, bytes::Buf::remaining(buffer));
        Ok(Some(()))
    }
}

/// Paths to every text in a message, so deep.
fn texts(message: &MessageDescriptor, depth: usize) -> Vec<Vec<FieldDescriptor>> {
    let mut found = Vec::new();
    for field in message.fields() {
        match field.kind() {
            Kind::String => found.push(vec![field]),
            Kind::Message(_) if field.is_map() => found.push(vec![field]),
            Kind::Message(inner) if depth > 0 => {
                let below = texts(&inner, depth - 1);
                found.extend(below.into_iter().map(|path| [vec![field.clone()], path].concat()));
            }
            _ => {}
        }
    }
    found
}

fn fill(message: &mut DynamicMessage, path: &[FieldDescriptor], text: &str) {
    let [field, rest @ ..] = path else { return };
    if field.is_map() {
        let entry = field.kind().as_message().unwrap().map_entry_value_field();
        if matches!(entry.kind(), Kind::String) {
            let map = [(MapKey::String(text.to_owned()), Value::String(text.to_owned()))].into();
            message.set_field(field, Value::Map(map));
        }
        return;
    }
    let value = match field.kind() {
        Kind::Message(inner) => {
            let mut below = match message.get_field(field).as_ref() {
                Value::Message(present) if message.has_field(field) => present.clone(),
                _ => DynamicMessage::new(inner),
            };
            fill(&mut below, rest, text);
            Value::Message(below)
        }
        _ => Value::String(text.to_owned()),
    };
    message.set_field(field, if field.is_list() { Value::List(vec![value]) } else { value });
}

fn size(status: &Status) -> usize {
    let headers = status.clone().into_http::<()>().into_parts().0.headers;
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// A request that is fine but for what is filled in.
fn sound(request: MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(request.clone());
    match request.name() {
        "CreateMirrorRequest" => message.transcode_from(&create_mirror("m")).unwrap(),
        "CreateClusterRequest" => message.transcode_from(&create_cluster("c")).unwrap(),
        _ => {}
    }
    message
}

/// Every public method with one answer.
fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let public = methods.filter(|method| {
        !method.is_server_streaming() && method.parent_service().package_name() == "twinlog.v1"
    });
    public.collect()
}

fn path_of(method: &MethodDescriptor) -> PathAndQuery {
    format!("/{}/{}", method.parent_service().full_name(), method.name()).parse().unwrap()
}

async fn call(service: &Service, path: &PathAndQuery, request: Vec<u8>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(service.channel.clone());
    client.ready().await.unwrap();
    client.unary(Request::new(request), path.clone(), Plain).await.map(|_| ())
}

/// Paths to every list and map in a message, so deep.
fn lists(message: &MessageDescriptor, depth: usize) -> Vec<Vec<FieldDescriptor>> {
    let mut found = Vec::new();
    for field in message.fields() {
        match field.kind() {
            _ if field.is_list() || field.is_map() => found.push(vec![field]),
            Kind::Message(inner) if depth > 0 => {
                let below = lists(&inner, depth - 1);
                found.extend(below.into_iter().map(|path| [vec![field.clone()], path].concat()));
            }
            _ => {}
        }
    }
    found
}

/// So many entries of a list or map, as bytes of a message: one is `text`, or an empty message.
fn many(path: &[FieldDescriptor], entry: impl Fn(usize) -> String, bytes: usize) -> Vec<u8> {
    use prost::encoding::{encode_varint, string};
    let delimited = |number: u32, inside: &[u8]| {
        let mut all = Vec::new();
        encode_varint(u64::from(number << 3 | 2), &mut all);
        encode_varint(inside.len() as u64, &mut all);
        all.extend_from_slice(inside);
        all
    };
    let (last, outer) = path.split_last().unwrap();
    let mut all = Vec::with_capacity(bytes + 100);
    for i in 0.. {
        if all.len() >= bytes {
            break;
        }
        let text = entry(i);
        if last.is_map() {
            let mut inside = Vec::new();
            string::encode(1, &text, &mut inside);
            all.extend(delimited(last.number(), &inside));
        } else if matches!(last.kind(), Kind::String) {
            all.extend(delimited(last.number(), text.as_bytes()));
        } else {
            all.extend(delimited(last.number(), &[]));
        }
    }
    outer.iter().rev().fold(all, |inside, field| delimited(field.number(), &inside))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_entries_cost_no_other_call_its_time() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("there")).await.unwrap();
    let mut filled = Vec::new();
    for method in methods() {
        let path = path_of(&method);
        for field in lists(&method.input(), 3) {
            let names: Vec<&str> = field.iter().map(FieldDescriptor::name).collect();
            let what = format!("{path} {}", names.join("."));
            // Merged with a request that is fine: one that is refused for what is missing shows nothing.
            let sound = prost::Message::encode_to_vec(&sound(method.input()));
            let request = [sound, many(&field, |i| format!("a{i}"), 3_900_000)].concat();
            let began = Instant::now();
            let (refused, beside) =
                tokio::join!(async { (call(&service, &path, request).await, began.elapsed()) }, async {
                    let beside = v1::ListClustersRequest::default();
                    (service.clusters().list_clusters(beside).await, began.elapsed())
                });
            println!("{what}: refused after {:?}, the call beside it took {:?}", refused.1, beside.1);
            let fields = expect(refused.0, Reason::INVALID_FIELD, "at most");
            assert_eq!(fields, [names.join(".")], "{what}");
            beside.0.unwrap();
            assert!(refused.1 < QUICK && beside.1 < QUICK, "{what}: {:?}, {:?}", refused.1, beside.1);
            filled.push(what);
        }
    }
    // The ones that took 22 s, 48 s and 2 s.
    for seen in [
        "MirrorService/UpdateMirror update_mask.paths",
        "ClusterService/ListTopics patterns",
        "ClusterService/ListGroups patterns",
        "ClusterService/CreateCluster cluster.properties",
        "ClusterService/TestCluster cluster.bootstrap_servers",
    ] {
        assert!(filled.iter().any(|what| what.ends_with(seen)), "{seen} is not among {filled:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_entries_as_are_allowed_cost_no_other_call_its_time() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("there")).await.unwrap();
    let paths: Vec<String> = (0..1_000).map(|i| format!("labels.`{i}`")).collect();
    let topics = (0..900).map(|i| format!("{}{i}", "t".repeat(1_000))).collect();
    let update = v1::UpdateMirrorRequest {
        mirror: Some(v1::Mirror { name: "mirrors/there".to_owned(), topics, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    };
    let patterns = (0..1_000).map(|i| format!("(a|b{i})+[c-x]{{1,50}}.*")).collect();
    let list = v1::ListTopicsRequest { parent: "clusters/a".to_owned(), patterns, ..Default::default() };
    let began = Instant::now();
    let mut mirrors = service.mirrors();
    let mut clusters = service.clusters();
    let beside = async {
        for _ in 0..20 {
            let asked = Instant::now();
            service.clusters().list_clusters(v1::ListClustersRequest::default()).await.unwrap();
            assert!(asked.elapsed() < QUICK, "{:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (updated, listed, ()) = tokio::join!(
        async { (mirrors.update_mirror(update).await, began.elapsed()) },
        async { clusters.list_topics(list).await },
        beside
    );
    updated.0.unwrap();
    assert!(updated.1 < 3 * QUICK, "a mask of a thousand paths takes {:?}", updated.1);
    expect(listed, Reason::NO_WORKER, "");
}

#[tokio::test]
async fn every_refusal_fits_into_headers() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("there")).await.unwrap();
    let (mut calls, mut refusals) = (0, 0);
    for method in methods() {
        let path = path_of(&method);
        for text in ["x", "a b ", "ü", "\u{1b}["] {
            for field in texts(&method.input(), 2) {
                let mut message = sound(method.input());
                fill(&mut message, &field, &text.repeat((60 << 10) / text.len()));
                let answer = call(&service, &path, prost::Message::encode_to_vec(&message)).await;
                calls += 1;
                let Err(status) = answer else { continue };
                refusals += 1;
                let what = format!(
                    "{path} {:?} with {text:?}: {status:?}",
                    field.iter().map(FieldDescriptor::name).collect::<Vec<_>>()
                );
                assert!(size(&status) < HEADERS, "{} bytes: {what}", size(&status));
                assert!(reason::reason_of(&status).is_some(), "the reason is not there: {what}");
                let longest = status.message().split(['x', 'ü']).count();
                assert!(longest < 400, "too much is quoted: {what}");
            }
        }
    }
    println!("{calls} calls, {refusals} refusals");
    assert!(refusals > 100, "{refusals} of {calls}");
}
