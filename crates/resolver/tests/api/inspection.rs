//! Inspection of uploads by an embedding runtime.

use std::sync::Arc;

use crate::support::{ada, put_request, store};
use artifact_store_core::{Body, Bytes, Digest, async_trait};
use artifact_store_protocol::{Code, ListRequest, PutOpts, PutRequest};
use artifact_store_resolver::{Inspection, Inspector, Rejection, Resolver, ResolverOptions, Upload};

/// Rejects uploads named `bad`, with the byte `!`, or of exactly three bytes. Accepts uploads named `unseen` without
/// inspecting their bytes.
#[derive(Debug)]
struct StrictInspector;

struct ByteCounter(usize);

#[async_trait]
impl Inspector for StrictInspector {
    async fn begin(&self, upload: Upload<'_>) -> Result<Option<Box<dyn Inspection>>, Rejection> {
        match upload.options.filename.as_deref() {
            Some("bad") => Err(Rejection::new("the name is bad")),
            Some("unseen") => Ok(None),
            _ => Ok(Some(Box::new(ByteCounter(0)))),
        }
    }
}

#[async_trait]
impl Inspection for ByteCounter {
    async fn chunk(&mut self, chunk: &Bytes) -> Result<(), Rejection> {
        self.0 += chunk.len();
        if chunk.contains(&b'!') { Err(Rejection::new("no shouting")) } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), Rejection> {
        if self.0 == 3 { Err(Rejection::new("three is too few")) } else { Ok(()) }
    }
}

fn strict_resolver() -> Resolver {
    let options =
        ResolverOptions { inspector: Some(Arc::new(StrictInspector)), ..ResolverOptions::default() };
    Resolver::new(store(), options)
}

#[tokio::test]
async fn an_upload_rejected_for_its_metadata_a_chunk_or_its_length_leaves_nothing_behind() {
    let resolver = strict_resolver();
    for (name, bytes, message) in [
        ("bad", "fine", "the name is bad"),
        ("x", "not fine!", "no shouting"),
        ("x", "123", "three is too few"),
    ] {
        let opts = PutOpts { filename: Some(name.into()), ..PutOpts::default() };
        let chunks = futures_util::stream::iter(
            bytes.as_bytes().chunks(2).map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk))),
        );
        let streamed_body = Body::from_stream(chunks);
        let streamed = resolver.upload(&ada(), "", opts.clone(), streamed_body).await.unwrap_err();
        let in_memory = resolver.put(&ada(), PutRequest { opts, ..put_request(bytes) }).await.unwrap_err();
        for refusal in [streamed, in_memory] {
            assert_eq!(
                (refusal.code(), refusal.envelope().message.as_ref()),
                (Code::PayloadInvalid, message)
            );
        }
    }
    assert_eq!(resolver.list(&ada(), ListRequest::default()).await.unwrap().total_matched, 0);
}

#[tokio::test]
async fn an_accepted_upload_is_stored_unchanged_within_the_same_limits() {
    let resolver = strict_resolver();
    let opts = || PutOpts { filename: Some("x".into()), ..PutOpts::default() };
    let body = Body::from("four").with_digest(Digest::of(b"four"));
    let uploaded = resolver.upload(&ada(), "", opts(), body).await.unwrap();
    assert_eq!((uploaded.record.size, uploaded.record.digest), (4, Digest::of(b"four")));
    let other = Body::from("five!").with_digest(Digest::of(b"other"));
    assert_eq!(resolver.upload(&ada(), "", opts(), other).await.unwrap_err().code(), Code::PayloadInvalid);
    let unseen = PutOpts { filename: Some("unseen".into()), ..PutOpts::default() };
    assert!(resolver.upload(&ada(), "", unseen, Body::from("unseen!")).await.unwrap().created);
    let options = ResolverOptions {
        inspector: Some(Arc::new(StrictInspector)),
        max_request_bytes: Some(5),
        ..ResolverOptions::default()
    };
    let small = Resolver::new(store(), options);
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"xx")));
    let refusal = small.upload(&ada(), "", opts(), Body::from_stream(endless)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::RequestTooLarge);
}

#[tokio::test]
async fn a_body_with_a_wrong_length_or_digest_is_refused_before_the_inspection_accepts_it() {
    let resolver = strict_resolver();
    let chunks = || futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("four"))]);
    for body in [
        Body::from_stream(chunks()).with_length(5),
        Body::from_stream(chunks()).with_digest(Digest::of(b"x")),
    ] {
        let refusal = resolver.upload(&ada(), "", PutOpts::default(), body).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidRequest);
    }
    assert_eq!(resolver.list(&ada(), ListRequest::default()).await.unwrap().total_matched, 0);
}
