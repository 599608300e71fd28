//! What each method returns to an authorized caller.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::sync::Arc;

use crate::support::{ada, code, put_bytes, put_request, resolver, store};
use artifact_store_core::{Body, ByteRange, Bytes, Digest, Gate, GateOptions};
use artifact_store_inmem::{InmemConfig, InmemStore};
use artifact_store_protocol::{
    Code, DriverRow, GetRequest, LimitSource, ListRequest, PutOpts, PutRequest, RequestIdentity,
    RuntimeRequest, SizeLimit, Status,
};
use artifact_store_resolver::{Resolver, ResolverOptions, RuntimeDescription};

fn get(id: &str, offset: u64, max_bytes: u64) -> GetRequest {
    GetRequest { id: id.into(), offset: Some(offset), max_bytes: Some(max_bytes), ..GetRequest::default() }
}

#[tokio::test]
async fn a_get_returns_the_requested_bytes_up_to_the_maximum_and_whether_more_follow() {
    let options =
        ResolverOptions { fetch_default_max_bytes: 4, fetch_hard_max_bytes: 6, ..ResolverOptions::default() };
    let resolver = Resolver::new(store(), options);
    let id = put_bytes(&resolver, &ada(), "0123456789").await;
    for (offset, max, content, truncated) in [
        (0, 0, "0123", true),
        (0, 2, "01", true),
        (0, 6, "012345", true),
        (0, 7, "012345", true),
        (0, u64::MAX, "012345", true),
        (4, 6, "456789", false),
        (8, 6, "89", false),
        (9, 1, "9", false),
        (10, 6, "", false),
        (u64::MAX, u64::MAX, "", false),
    ] {
        let got = resolver.get(&ada(), get(&id, offset, max)).await.unwrap();
        assert_eq!((got.content.as_ref(), got.truncated), (content.as_bytes(), truncated), "{offset} {max}");
        assert_eq!(
            (got.offset, got.returned_bytes, got.total_size_bytes),
            (offset, content.len() as u64, 10)
        );
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_stored_and_one_byte_more_is_not() {
    let resolver =
        Resolver::new(store(), ResolverOptions { max_request_bytes: Some(5), ..ResolverOptions::default() });
    assert_eq!(code(resolver.put(&ada(), put_request("12345")).await), None);
    assert_eq!(code(resolver.put(&ada(), put_request("123456")).await), Some(Code::RequestTooLarge));
    // An endless stream is refused too, because it is read only until the limit is exceeded.
    let upload = resolver.upload(&ada(), "", PutOpts::default(), endless()).await;
    assert_eq!(code(upload), Some(Code::RequestTooLarge));
    assert_eq!(resolver.list(&ada(), ListRequest::default()).await.unwrap().rows.len(), 1);
}

fn put_of_length(length: u64) -> PutRequest {
    PutRequest { bytes: vec![7; usize::try_from(length).unwrap()].into(), ..PutRequest::default() }
}

/// An endless body.
fn endless() -> Body {
    Body::from_stream(futures_util::stream::repeat_with(|| {
        Ok::<_, std::io::Error>(Bytes::from_static(b"xxx"))
    }))
}

#[tokio::test]
async fn each_plane_has_its_limit_and_the_refusal_names_what_raises_it() {
    let (request, upload) = ("protocol.max_request_bytes is", "protocol.max_upload_bytes is");
    for (max_request_bytes, max_upload_bytes, of_put, of_upload) in [
        (None, Some(7), (4 << 20, request), (7, upload)),
        (Some(5), None, (5, request), (5, request)),
        (Some(5), Some(3), (5, request), (3, upload)),
        // The resolver of an embedding runtime may be given limits that a configuration refuses.
        (Some(5), Some(7), (5, request), (5, request)),
    ] {
        let options = ResolverOptions { max_request_bytes, max_upload_bytes, ..ResolverOptions::default() };
        let resolver = Resolver::new(store(), options);
        assert_eq!((resolver.put_limit().bytes, resolver.upload_limit().bytes), (of_put.0, of_upload.0));
        let info = resolver.info(&ada(), &RuntimeRequest::default()).unwrap();
        assert_eq!((info.max_request_bytes, info.max_upload_bytes), (of_put.0, of_upload.0));
        assert_eq!(code(resolver.put(&ada(), put_of_length(of_put.0)).await), None);
        let refused = resolver.put(&ada(), put_of_length(of_put.0 + 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::RequestTooLarge);
        assert!(refused.to_string().contains(&format!("{} {})", of_put.1, of_put.0)), "{refused}");
        let caller = ada();
        let send = |body: Body| resolver.upload(&caller, "", PutOpts::default(), body);
        assert_eq!(
            send(Body::from_bytes(put_of_length(of_upload.0).bytes)).await.unwrap().record.size,
            of_upload.0
        );
        for body in [Body::from_bytes(put_of_length(of_upload.0 + 1).bytes), endless()] {
            let refused = send(body).await.unwrap_err();
            assert_eq!(refused.code(), Code::RequestTooLarge);
            assert!(refused.to_string().contains(&format!("{} {})", of_upload.1, of_upload.0)), "{refused}");
        }
    }
}

#[tokio::test]
async fn only_the_refusal_of_a_put_that_the_byte_plane_would_take_says_so() {
    for (max_request_bytes, says_so) in [(None, true), (Some(5), false)] {
        let options = ResolverOptions { max_request_bytes, ..ResolverOptions::default() };
        let resolver = Resolver::new(store(), options);
        let refused = resolver.put(&ada(), put_of_length((4 << 20) + 1)).await.unwrap_err();
        assert_eq!(refused.to_string().contains("PUT /v1/artifacts, which takes more"), says_so, "{refused}");
    }
}

#[tokio::test]
async fn the_limit_of_the_store_is_the_limit_of_both_planes_and_is_named() {
    let bare = Arc::new(InmemStore::new(InmemConfig::new().max_artifact_bytes(6)));
    let store = Arc::new(Gate::new(bare, GateOptions::default()).unwrap());
    let resolver = Resolver::new(store, ResolverOptions::default());
    for limit in [resolver.put_limit(), resolver.upload_limit()] {
        assert_eq!(limit, SizeLimit { bytes: 6, source: LimitSource::Store });
    }
    let refused = [
        resolver.put(&ada(), put_request("1234567")).await.unwrap_err(),
        resolver.upload(&ada(), "", PutOpts::default(), endless()).await.unwrap_err(),
    ];
    for refused in refused {
        assert_eq!(refused.code(), Code::RequestTooLarge);
        assert!(
            refused
                .to_string()
                .contains("(6 bytes); send a smaller one, or raise artifacts.options.max_artifact_bytes"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn an_upload_says_whether_it_is_new_and_an_incomplete_one_is_invalid() {
    let resolver = resolver();
    let pieces =
        || futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("he")), Ok(Bytes::from("llo"))]);
    for created in [true, false] {
        let uploaded =
            resolver.upload(&ada(), "t", PutOpts::default(), Body::from_stream(pieces())).await.unwrap();
        assert_eq!(uploaded.created, created);
    }
    let broken =
        futures_util::stream::iter([Ok(Bytes::from("he")), Err(std::io::Error::other("/etc/secret"))]);
    let short = Body::from_stream(pieces()).with_length(6);
    let other = Body::from_stream(pieces()).with_digest(Digest::of(b"other"));
    for body in [Body::from_stream(broken), short, other] {
        let refusal = resolver.upload(&ada(), "u", PutOpts::default(), body).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidRequest);
        assert!(!refusal.envelope().message.contains("secret"), "{refusal}");
    }
    assert_eq!(resolver.list(&ada(), ListRequest::default()).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn a_download_streams_the_range_that_it_reports() {
    let resolver = resolver();
    let id = put_bytes(&resolver, &ada(), "0123456789").await;
    let got = resolver.download(&ada(), "", &id, Some(ByteRange::Suffix(3))).await.unwrap();
    assert_eq!((got.range, got.record.size), (7..10, 10));
    assert_eq!(got.stream.collect_bytes(10).await.unwrap(), "789");
    assert_eq!(resolver.stat(&ada(), "", &id).await.unwrap().size, 10);
    for id in ["no id at all", "default_00000000000000000000000000000000"] {
        assert_eq!(code(resolver.download(&ada(), "", id, None).await), Some(Code::NotFound));
        assert_eq!(code(resolver.stat(&ada(), "", id).await), Some(Code::NotFound));
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_a_cursor_belongs_to_its_query() {
    let resolver = resolver();
    for text in ["a", "b", "c", "d", "e"] {
        put_bytes(&resolver, &ada(), text).await;
    }
    let page = |limit, cursor: Option<String>, tags: Vec<String>| ListRequest {
        limit: Some(limit),
        cursor,
        tags,
        ..ListRequest::default()
    };
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let answer = resolver.list(&ada(), page(2, cursor, Vec::new())).await.unwrap();
        assert_eq!(answer.total_matched, 5);
        seen.extend(answer.rows.iter().map(|row| row.artifact.id.clone()));
        match answer.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 5);
    let next = resolver.list(&ada(), page(2, None, Vec::new())).await.unwrap().next_cursor.unwrap();
    for (cursor, tags) in
        [(next.clone(), vec!["t".to_owned()]), (format!("{next}A"), vec![]), ("x".to_owned(), vec![])]
    {
        assert_eq!(
            code(resolver.list(&ada(), page(2, Some(cursor), tags)).await),
            Some(Code::InvalidRequest)
        );
    }
    // An empty cursor and a limit of 0 are treated as absent. A limit above the maximum is treated as the maximum.
    for limit in [0, 5, u64::MAX] {
        assert_eq!(
            resolver.list(&ada(), page(limit, Some(String::new()), vec![])).await.unwrap().rows.len(),
            5
        );
    }
}

#[tokio::test]
async fn the_runtime_describes_itself_its_drivers_and_its_health() {
    let row = |driver| DriverRow {
        driver,
        about: "for tests",
        active: false,
        capabilities: artifact_store_core::Capabilities::new().max_artifact_bytes(7),
    };
    let runtime = RuntimeDescription {
        instance_id: "i-1".into(),
        build_version: "1.2.3".into(),
        surfaces: vec!["events"],
        drivers: vec![row("fs"), row("inmem")],
        ..RuntimeDescription::default()
    };
    let store = store();
    let resolver =
        Resolver::new(Arc::clone(&store), ResolverOptions { runtime, ..ResolverOptions::default() });
    let plain = RuntimeRequest::default();
    let info = resolver.info(&ada(), &plain).unwrap();
    assert_eq!(
        (info.instance_id.as_str(), info.artifacts.driver, info.max_request_bytes, info.max_upload_bytes),
        ("i-1", "inmem", 4 << 20, 1 << 30)
    );
    assert_eq!(info.capabilities, ["artifacts", "runtime", "events"]);
    let drivers = resolver.drivers(&ada(), &plain).unwrap().drivers;
    assert_eq!(
        drivers.iter().map(|row| (row.driver, row.active)).collect::<Vec<_>>(),
        [("fs", false), ("inmem", true)]
    );
    assert_eq!(
        drivers[1].capabilities,
        store.capabilities(),
        "the active driver has its opened capabilities"
    );
    assert_eq!(resolver.health(&ada(), &plain).await.unwrap().status, Status::Ready);
    for (tenant, expected) in [("acme", None), ("other", Some(Code::IdentityRequired))] {
        let identity = RequestIdentity { tenant: tenant.into(), ..RequestIdentity::default() };
        assert_eq!(code(resolver.info(&ada(), &RuntimeRequest { identity })), expected);
    }
}

#[tokio::test]
async fn a_closed_store_is_unavailable_and_its_methods_answer_runtime_error() {
    let store = store();
    let resolver = Resolver::new(Arc::clone(&store), ResolverOptions::default());
    store.close().await.unwrap();
    let health = resolver.probe().await;
    assert_eq!((health.status, health.subsystems[0].status), (Status::Unavailable, Status::Unavailable));
    assert_eq!(code(resolver.put(&ada(), put_request("x")).await), Some(Code::RuntimeError));
    assert_eq!(code(resolver.list(&ada(), ListRequest::default()).await), Some(Code::RuntimeError));
}
