//! No call of the public API with more in it than `limits` allows: a request is counted before it is decoded, at the replica that it is
//! made to.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use prost_reflect::MessageDescriptor;
use tonic::Status;

use crate::refusal::invalid;
use crate::replica::whole_calls::ByReplica;
use crate::{descriptors, limits};

/// Before a gRPC message: whether it is compressed, and its length.
const HEADER: usize = 5;

/// Requests of the public methods, by path. Streams of requests are not among them.
static REQUESTS: LazyLock<HashMap<String, MessageDescriptor>> = LazyLock::new(descriptors::requests);

/// `max_bytes`: larger messages are for the decoder to refuse.
pub(super) async fn check(State(max_bytes): State<usize>, request: Request, next: Next) -> Response {
    let counted = request.extensions().get::<ByReplica>().is_some();
    let Some(message) = REQUESTS.get(request.uri().path()).filter(|_| !counted) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let mut chunks = body.into_data_stream();
    let mut read = BytesMut::new();
    while wanted(&read, max_bytes) > read.len() {
        match chunks.next().await {
            Some(Ok(chunk)) => read.extend_from_slice(&chunk),
            // Whatever is wrong with it, the decoder says so.
            Some(Err(_)) | None => break,
        }
    }
    let read = read.freeze();
    if let Some(encoded) = encoded(&read)
        && let Err(problem) = limits::check(message, encoded)
    {
        let status = Status::from(invalid(&problem.field, problem.what));
        return status.into_http::<Body>().into_response();
    }
    let body = Body::from_stream(stream::iter([Ok::<Bytes, axum::Error>(read)]).chain(chunks));
    next.run(Request::from_parts(parts, body)).await
}

fn length(read: &[u8]) -> Option<(u8, usize)> {
    let (header, _) = read.split_first_chunk::<HEADER>()?;
    let [compressed, length @ ..] = *header;
    Some((compressed, usize::try_from(u32::from_be_bytes(length)).ok()?))
}

/// Bytes to read until the message can be counted.
fn wanted(read: &[u8], max_bytes: usize) -> usize {
    match length(read) {
        None => HEADER,
        Some((0, length)) if length <= max_bytes => HEADER + length,
        // Nothing we take: compressed, or too large.
        Some(_) => 0,
    }
}

fn encoded(read: &[u8]) -> Option<&[u8]> {
    match length(read)? {
        (0, length) => read.get(HEADER..HEADER + length),
        _ => None,
    }
}
