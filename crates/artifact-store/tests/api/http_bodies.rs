//! Artifacts as the bodies of HTTP messages, and the reverse.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::error::Error;
use std::io;
use std::sync::Arc;

use artifact_store::prelude::*;
use artifact_store::testing::{Rule, TestStore};
use artifact_store::{ByteStream, Bytes, HttpBody};
use futures_util::stream;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};

const MIB: usize = 1024 * 1024;

fn store() -> (Arc<TestStore>, Scope) {
    (Arc::new(TestStore::inmem().unwrap()), Scope::new("acme", "ada", "session-1").unwrap())
}

async fn put_and_get(bytes: Vec<u8>, range: Option<ByteRange>) -> HttpBody {
    let (store, scope) = store();
    let id = store.put_bytes(&scope, bytes, PutOptions::default()).await.unwrap().record.id;
    store.get(&scope, &id, range).await.unwrap().unwrap().into()
}

#[tokio::test]
async fn an_artifact_is_a_body_with_an_exact_length_and_all_its_bytes() {
    for length in [0, 1, 2 * MIB + 1] {
        let content: Vec<u8> =
            (0..length).map(|index: usize| index.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let mut body = put_and_get(content.clone(), None).await;
        assert_eq!(body.size_hint().exact(), Some(length as u64));
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            all.extend_from_slice(&frame.unwrap().into_data().unwrap());
            assert_eq!(body.size_hint().exact(), Some((length - all.len()) as u64), "what is left");
        }
        assert!(all == content && body.is_end_stream());
        assert!(body.frame().await.is_none(), "it may be polled after its end");
    }
    let part = put_and_get(b"0123456789".to_vec(), Some((2..5).into())).await;
    assert_eq!(part.size_hint().exact(), Some(3));
    assert_eq!(part.collect().await.unwrap().to_bytes(), "234");
    let unknown = HttpBody::from(ByteStream::from_bytes("hello".into()));
    assert_eq!(unknown.size_hint().exact(), None);
}

#[tokio::test]
async fn an_artifact_is_a_body_of_axum_and_a_body_of_axum_is_an_artifact() {
    let (store, scope) = store();
    let request = axum::body::Body::from("a report");
    let put = store.put(&scope, Body::from_http_body(request), PutOptions::default()).await.unwrap();
    let get = store.get(&scope, &put.record.id, None).await.unwrap().unwrap();
    let response = axum::body::Body::new(HttpBody::from(get));
    assert_eq!(axum::body::to_bytes(response, 100).await.unwrap(), "a report");
}

#[tokio::test]
async fn a_body_ends_with_the_error_of_the_store() {
    let (store, scope) = store();
    let id = store.put_text(&scope, "hello", PutOptions::default()).await.unwrap().record.id;
    store.add_rule(Rule::cut_stream(3, || StoreError::corrupt("altered")));
    let mut body = HttpBody::from(store.get(&scope, &id, None).await.unwrap().unwrap());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hel");
    assert_eq!(body.frame().await.unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(body.frame().await.is_none());
}

fn message(
    frames: Vec<Result<Frame<Bytes>, io::Error>>,
) -> impl http_body::Body<Data = Bytes, Error = io::Error> {
    StreamBody::new(stream::iter(frames))
}

#[tokio::test]
async fn the_data_of_a_message_is_put_without_its_trailers() {
    let (store, scope) = store();
    let data = |text: &'static str| Ok(Frame::data(Bytes::from(text)));
    let frames =
        vec![data("a "), data(""), data("report"), Ok(Frame::trailers(axum::http::HeaderMap::new()))];
    let body = Body::from_http_body(message(frames));
    assert_eq!(body.length(), None);
    let put = store.put(&scope, body, PutOptions::default()).await.unwrap();
    let text = store.get_text(&scope, &put.record.id, 100).await.unwrap();
    assert_eq!(text.as_deref(), Some("a report"));
}

#[tokio::test]
async fn the_length_of_a_message_is_the_length_of_the_body() {
    let body = Body::from_http_body(http_body_util::Full::new(Bytes::from("a report")));
    assert_eq!(body.length(), Some(8));
}

#[tokio::test]
async fn an_error_of_a_message_ends_the_put_and_is_its_source() {
    let (store, scope) = store();
    let frames = vec![Ok(Frame::data("a ".into())), Err(io::ErrorKind::ConnectionReset.into())];
    let body = Body::from_http_body(message(frames));
    let error = store.put(&scope, body, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::ConnectionReset));
    assert!(store.list(&ListQuery::new(ScopePattern::all_tenants())).await.unwrap().rows.is_empty());
}
