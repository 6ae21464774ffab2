//! Every refusal fits into a client's headers, whatever the request holds: each text field of each method is filled in turn.

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, Value};
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};
use twinlog_proto::FILE_DESCRIPTOR_SET;
use twinlog_proto::reason;

use crate::service::{Service, create_cluster, create_mirror};

/// What a client takes in all, bytes.
const HEADERS: usize = 8 << 10;
/// Methods that no client calls, or whose streams have no end.
const LEFT_OUT: [&str; 2] = ["WorkerService", "PeerService"];

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
fn texts(message: &prost_reflect::MessageDescriptor, depth: usize) -> Vec<Vec<FieldDescriptor>> {
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
fn sound(request: prost_reflect::MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(request.clone());
    match request.name() {
        "CreateMirrorRequest" => message.transcode_from(&create_mirror("m")).unwrap(),
        "CreateClusterRequest" => message.transcode_from(&create_cluster("c")).unwrap(),
        _ => {}
    }
    message
}

#[tokio::test]
async fn every_refusal_fits_into_headers() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("there")).await.unwrap();
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let (mut calls, mut refusals) = (0, 0);
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let name = method.parent_service().full_name().to_owned();
        if method.is_server_streaming()
            || !name.starts_with("twinlog.v1.")
            || LEFT_OUT.iter().any(|out| name.ends_with(out))
        {
            continue;
        }
        let path: http::uri::PathAndQuery = format!("/{name}/{}", method.name()).parse().unwrap();
        for text in ["x", "a b ", "ü", "\u{1b}["] {
            for field in texts(&method.input(), 2) {
                let mut message = sound(method.input());
                fill(&mut message, &field, &text.repeat((96 << 10) / text.len()));
                let mut client = tonic::client::Grpc::new(service.channel.clone());
                client.ready().await.unwrap();
                let bytes = prost::Message::encode_to_vec(&message);
                let answer = client.unary(Request::new(bytes), path.clone(), Plain).await;
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
