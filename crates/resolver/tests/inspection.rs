//! A runtime's own look at uploads before they are stored.

mod kit;

use std::sync::Arc;

use artifact_store_core::{Body, Bytes, Digest, async_trait};
use artifact_store_protocol::{Code, ListRequest, PutOpts, PutRequest};
use artifact_store_resolver::{Inspection, Inspector, Rejection, Resolver, ResolverOptions, Upload};
use kit::{ada, put_of, store};

/// Turns away what is called `bad`, what holds the byte `!`, and what is exactly three bytes long.
#[derive(Debug)]
struct Strict;

struct Reading(usize);

#[async_trait]
impl Inspector for Strict {
    async fn begin(&self, upload: Upload<'_>) -> Result<Option<Box<dyn Inspection>>, Rejection> {
        match upload.options.filename.as_deref() {
            Some("bad") => Err(Rejection::new("the name is bad")),
            Some("unseen") => Ok(None),
            _ => Ok(Some(Box::new(Reading(0)))),
        }
    }
}

#[async_trait]
impl Inspection for Reading {
    async fn piece(&mut self, piece: &Bytes) -> Result<(), Rejection> {
        self.0 += piece.len();
        if piece.contains(&b'!') { Err(Rejection::new("no shouting")) } else { Ok(()) }
    }

    async fn end(&mut self) -> Result<(), Rejection> {
        if self.0 == 3 { Err(Rejection::new("three is too few")) } else { Ok(()) }
    }
}

fn strict() -> Resolver {
    let options = ResolverOptions { inspector: Some(Arc::new(Strict)), ..ResolverOptions::default() };
    Resolver::new(store(), options)
}

#[tokio::test]
async fn metadata_a_byte_or_the_whole_may_be_turned_away_and_nothing_is_left() {
    let resolver = strict();
    for (name, bytes, says) in [
        ("bad", "fine", "the name is bad"),
        ("x", "not fine!", "no shouting"),
        ("x", "123", "three is too few"),
    ] {
        let opts = PutOpts { filename: Some(name.into()), ..PutOpts::default() };
        let pieces = futures_util::stream::iter(
            bytes.as_bytes().chunks(2).map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))),
        );
        let flowing = Body::from_stream(pieces);
        let flowed = resolver.upload(&ada(), "", opts.clone(), flowing).await.unwrap_err();
        let at_hand = resolver.put(&ada(), PutRequest { opts, ..put_of(bytes) }).await.unwrap_err();
        for refusal in [flowed, at_hand] {
            assert_eq!((refusal.code(), refusal.envelope().message.as_ref()), (Code::PayloadInvalid, says));
        }
    }
    assert_eq!(resolver.list(&ada(), ListRequest::default()).await.unwrap().total_matched, 0);
}

#[tokio::test]
async fn what_passes_is_stored_as_it_came_within_the_same_limits() {
    let resolver = strict();
    let opts = || PutOpts { filename: Some("x".into()), ..PutOpts::default() };
    let body = Body::from("four").with_digest(Digest::of(b"four"));
    let uploaded = resolver.upload(&ada(), "", opts(), body).await.unwrap();
    assert_eq!((uploaded.record.size, uploaded.record.digest), (4, Digest::of(b"four")));
    let other = Body::from("five!").with_digest(Digest::of(b"other"));
    assert_eq!(resolver.upload(&ada(), "", opts(), other).await.unwrap_err().code(), Code::PayloadInvalid);
    let unseen = PutOpts { filename: Some("unseen".into()), ..PutOpts::default() };
    assert!(resolver.upload(&ada(), "", unseen, Body::from("unseen!")).await.unwrap().created);
    let options = ResolverOptions {
        inspector: Some(Arc::new(Strict)),
        max_request_bytes: 5,
        ..ResolverOptions::default()
    };
    let small = Resolver::new(store(), options);
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"xx")));
    let refusal = small.upload(&ada(), "", opts(), Body::from_stream(endless)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::RequestTooLarge);
}

#[tokio::test]
async fn a_body_that_lies_about_itself_is_refused_before_it_is_agreed_to() {
    let resolver = strict();
    let pieces = || futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("four"))]);
    for body in [
        Body::from_stream(pieces()).with_length(5),
        Body::from_stream(pieces()).with_digest(Digest::of(b"x")),
    ] {
        let refusal = resolver.upload(&ada(), "", PutOpts::default(), body).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidRequest);
    }
    assert_eq!(resolver.list(&ada(), ListRequest::default()).await.unwrap().total_matched, 0);
}
