//! Opening a store: what is created, what is refused, and what is noticed later.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod harness;

use artifact_store_core::{ArtifactStore, Body, ErrorKind, Flag, ListQuery, PutOptions, ScopePattern};
use artifact_store_object_store::{ConditionalCreate, ObjectArtifactStore};
use harness::faulty::{FaultyBackend, scope};
use harness::{Call, Outcome, PREFIX};
use object_store::path::Path;

#[tokio::test]
async fn a_prefix_of_another_program_or_of_a_newer_format_is_refused() {
    let format = Path::from(format!("{PREFIX}/FORMAT"));
    for (content, expected) in [
        (&b"something"[..], "another program"),
        (br#"{"format":2}"#, "another program"),
        (br#"{"store":"artifact-store-object-store","version":9}"#, "format 9"),
    ] {
        let backend = FaultyBackend::new();
        backend.overwrite(&format, content).await;
        let error = ObjectArtifactStore::open(backend.config()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(backend.keys("").await, std::slice::from_ref(&format));
    }
}

#[tokio::test]
async fn an_existing_store_is_opened_without_writing() {
    let backend = FaultyBackend::new();
    let error = ObjectArtifactStore::open_existing(backend.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(backend.keys("").await, []);
    backend.open().await.close().await.unwrap();
    let puts = backend.faulty.count(Call::Put, "");
    ObjectArtifactStore::open_existing(backend.config()).await.unwrap().close().await.unwrap();
    assert_eq!(backend.faulty.count(Call::Put, ""), puts);
}

#[tokio::test]
async fn an_emptied_bucket_is_an_error_and_not_an_empty_store() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    assert!(store.health().await.is_ok());
    for key in backend.keys("").await {
        object_store::ObjectStoreExt::delete(&*backend.objects(), &key).await.unwrap();
    }
    let query = ListQuery::new(ScopePattern::exactly(&scope()));
    for error in [
        store.health().await.unwrap_err(),
        store.stat(&scope(), &put.record.id).await.unwrap_err(),
        store.get(&scope(), &put.record.id, None).await.unwrap_err(),
        store.delete(&scope(), &put.record.id).await.unwrap_err(),
        store.list(&query).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("FORMAT"), "{error}");
    }
}

#[tokio::test]
async fn credentials_that_may_not_write_open_an_existing_store_and_create_none() {
    let backend = FaultyBackend::new();
    backend.faulty.add_rule(Call::Put, "", Outcome::Denied, usize::MAX);
    let error = ObjectArtifactStore::open(backend.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
    backend.faulty.clear_rules();
    backend.open().await.close().await.unwrap();
    backend.faulty.add_rule(Call::Put, "", Outcome::Denied, usize::MAX);
    let store = backend.open().await;
    assert_eq!(store.store_features().unwrap()[0].value, "no");
}

#[tokio::test]
async fn the_option_conditional_create_replaces_the_probe() {
    for (option, value) in [(ConditionalCreate::Yes, "yes"), (ConditionalCreate::No, "no")] {
        let backend = FaultyBackend::new();
        let config = backend.config().conditional_create(option);
        let store = ObjectArtifactStore::open(config).await.unwrap();
        assert_eq!(store.store_features().unwrap()[0].value, value);
        assert_eq!(backend.faulty.count(Call::Put, "/u/"), 0);
    }
}

#[tokio::test]
async fn a_listing_of_more_artifacts_than_max_scan_is_refused_and_names_the_option() {
    let backend = FaultyBackend::new();
    let store = ObjectArtifactStore::open(backend.config().max_scan(2)).await.unwrap();
    let query = ListQuery::new(ScopePattern::exactly(&scope()));
    for (number, is_listed) in [(1, true), (2, true), (3, false)] {
        store.put(&scope(), Body::from_bytes(format!("{number}")), PutOptions::new()).await.unwrap();
        match store.list(&query).await {
            Ok(page) => assert!(is_listed && page.rows.len() == number),
            Err(error) => {
                assert!(!is_listed && error.to_string().contains("max_scan"), "{error}");
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            }
        }
    }
}

#[tokio::test]
async fn illegal_values_are_refused_by_the_name_of_their_option() {
    let backend = FaultyBackend::new();
    let config = || backend.config();
    for (config, option) in [
        (config().part_size(0), "part_size"),
        (config().part_size(1 << 30), "part_size"),
        (config().part_concurrency(0), "part_concurrency"),
        (config().list_concurrency(0), "list_concurrency"),
        (config().max_scan(0), "max_scan"),
        (config().prefix(Path::from("x".repeat(300))), "prefix"),
    ] {
        let error = ObjectArtifactStore::open(config).await.unwrap_err();
        assert_eq!((error.kind(), error.options()), (ErrorKind::InvalidArgument, &[option][..]), "{error}");
    }
    assert_eq!(backend.keys("").await, []);
}

#[tokio::test]
async fn a_store_in_memory_promises_neither_durability_nor_presigned_urls() {
    let backend = FaultyBackend::new();
    let capabilities = backend.open().await.capabilities();
    assert!(capabilities.has(Flag::Shared));
    for flag in [Flag::Durable, Flag::PresignGet, Flag::PresignPut] {
        assert!(!capabilities.has(flag), "{flag}");
    }
}

#[tokio::test]
async fn an_upload_ttl_that_is_too_short_for_a_put_is_refused_only_where_the_store_is_opened_for_puts() {
    let backend = FaultyBackend::new();
    backend.open().await.close().await.unwrap();
    let config = || backend.config().upload_ttl(std::time::Duration::from_mins(1));
    let error = ObjectArtifactStore::open(config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("upload_ttl"), "{error}");
    ObjectArtifactStore::open_existing(config()).await.unwrap().close().await.unwrap();
}
