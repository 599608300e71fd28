//! The driver under faults: requests fail, are denied, are slow or lose their responses; bodies break off; puts are
//! dropped; objects are altered or disappear.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, BoxError, Bytes, Digest, ErrorKind, Namespace, PutOptions, PutOutcome,
};
use futures_util::{StreamExt, TryStreamExt};
use harness::faulty::{FaultyBackend, PART, endless_after, long_bytes, read_all, scope, stream_of};
use harness::{Call, Outcome};

fn id_of(bytes: &[u8]) -> ArtifactId {
    ArtifactId::new(&Namespace::default(), &Digest::of(bytes))
}

/// The requests of a put of a short and of a long body, and a part of the key of each.
const SHORT_PUT: [(Call, &str); 2] = [(Call::Put, "/d/"), (Call::Put, "/a/")];
const LONG_PUT: [(Call, &str); 4] =
    [(Call::CreateUpload, "/d/"), (Call::Part, "/d/"), (Call::CompleteUpload, "/d/"), (Call::Put, "/a/")];

#[tokio::test]
async fn a_put_whose_request_fails_leaves_no_artifact_and_after_a_sweep_nothing() {
    let bytes = long_bytes(3);
    for (calls, length) in [(&SHORT_PUT[..], 100), (&LONG_PUT[..], bytes.len())] {
        let bytes = &bytes[..length];
        for (call, key) in calls {
            for (outcome, kind) in
                [(Outcome::Fails, ErrorKind::Unavailable), (Outcome::Denied, ErrorKind::Backend)]
            {
                let backend = FaultyBackend::new();
                let store = backend.open().await;
                backend.faulty.add_rule(*call, key, outcome, 1);
                let error = store.put(&scope(), stream_of(bytes), PutOptions::new()).await.unwrap_err();
                assert_eq!(error.kind(), kind, "{call:?} {outcome:?}: {error}");
                assert_eq!(read_all(&store, &id_of(bytes)).await, None, "{call:?} {outcome:?}");
                store.close().await.unwrap();
                assert_eq!(backend.faulty.open_uploads(), Vec::<String>::new(), "{call:?} {outcome:?}");
                // If it is unknown whether the storage creates the record, its data must stay.
                let is_unknown = outcome == Outcome::Fails && *key == "/a/";
                assert_eq!(backend.residue().await.len(), usize::from(is_unknown), "{call:?} {outcome:?}");
                assert_eq!(backend.sweep_all().await.objects, u64::from(is_unknown));
                assert_eq!(backend.residue().await, Vec::<String>::new(), "{call:?} {outcome:?}");
                // The same put succeeds afterwards.
                let store = backend.open().await;
                let put = store.put(&scope(), stream_of(bytes), PutOptions::new()).await.unwrap();
                assert_eq!(put.outcome, PutOutcome::Created);
                assert_eq!(read_all(&store, &put.record.id).await.as_deref(), Some(bytes));
                store.close().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_put_whose_response_is_lost_has_created_the_artifact() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    backend.faulty.add_rule(Call::Put, "/a/", Outcome::ResponseIsLost, 1);
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    assert_eq!(read_all(&store, &put.record.id).await.unwrap(), b"hello");
    let again = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::AlreadyExists);
    store.close().await.unwrap();
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_data_of_an_artifact_stay_if_it_cannot_be_looked_up_after_a_lost_response() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    backend.faulty.add_rule(Call::Put, "/a/", Outcome::ResponseIsLost, 1);
    backend.faulty.add_rule(Call::Get, "/a/", Outcome::Fails, 1);
    let error = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(read_all(&store, &id_of(b"hello")).await.unwrap(), b"hello");
    store.close().await.unwrap();
    assert_eq!(backend.sweep_all().await.objects, 0);
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_response_to_the_bytes_leaves_nothing() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    backend.faulty.add_rule(Call::Put, "/d/", Outcome::ResponseIsLost, 1);
    let error = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    store.close().await.unwrap();
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_whose_completion_took_effect_becomes_the_artifact() {
    for outcome in [Outcome::ResponseIsLost, Outcome::Fails] {
        let backend = FaultyBackend::new();
        let store = backend.open().await;
        backend.faulty.add_rule(Call::CompleteUpload, "/d/", outcome, 1);
        let bytes = long_bytes(3);
        let put = store.put(&scope(), stream_of(&bytes), PutOptions::new()).await;
        assert_eq!(put.is_ok(), outcome == Outcome::ResponseIsLost, "{outcome:?}: {put:?}");
        let expected = put.is_ok().then_some(&bytes[..]);
        assert_eq!(read_all(&store, &id_of(&bytes)).await.as_deref(), expected, "{outcome:?}");
        store.close().await.unwrap();
        assert_eq!(backend.residue().await, Vec::<String>::new(), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_record_that_was_created_is_found_whatever_the_repeated_request_was_answered() {
    for backend in [FaultyBackend::new(), FaultyBackend::without_conditions()] {
        let store = backend.open().await;
        backend.faulty.add_rule(Call::Put, "/a/", Outcome::RepeatIsDenied, 1);
        let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
        assert_eq!(put.outcome, PutOutcome::Created);
        assert_eq!(read_all(&store, &put.record.id).await.unwrap(), b"hello");
        store.close().await.unwrap();
        assert_eq!(backend.residue().await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn an_artifact_that_is_deleted_while_it_is_stored_gets_no_record_without_its_bytes() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    // An earlier attempt has created the record. Before it is looked up, another process deletes the artifact.
    backend.faulty.add_rule(Call::Put, "/a/", Outcome::Exists, 1);
    backend.faulty.add_rule(Call::Get, "/a/", Outcome::Takes(Duration::from_secs(1)), 1);
    let scope = scope();
    let (put, ()) = tokio::join!(store.put(&scope, Body::from_bytes("hello"), PutOptions::new()), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let data = backend.keys("d").await.remove(0);
        object_store::ObjectStoreExt::delete(&*backend.objects(), &data).await.unwrap();
    });
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(read_all(&store, &id_of(b"hello")).await, None);
    store.close().await.unwrap();
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_body_whose_record_cannot_be_stored_is_not_sent() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let mut value = serde_json::json!(1);
    for _ in 0..200 {
        value = serde_json::json!([value]);
    }
    let options =
        PutOptions { metadata: [("deep".to_owned(), value)].into_iter().collect(), ..PutOptions::new() };
    let error = store.put(&scope(), Body::from_bytes("hello"), options).await.unwrap_err();
    assert_eq!(backend.faulty.count(Call::Put, "/d/"), 0, "{error}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_long_body_that_breaks_off_or_differs_from_what_it_announced_leaves_nothing() {
    let bytes = long_bytes(4);
    let broken = {
        let bytes = bytes.clone();
        let pieces: Vec<Result<Bytes, BoxError>> = vec![Ok(bytes.into()), Err("the source broke off".into())];
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    let other = Digest::of(b"something else");
    let bodies = [
        (broken, ErrorKind::InvalidArgument),
        (stream_of(&bytes).with_length(bytes.len() as u64 - 1), ErrorKind::InvalidArgument),
        (stream_of(&bytes).with_length(bytes.len() as u64 + 1), ErrorKind::InvalidArgument),
        (
            stream_of(&bytes).with_digest(other),
            ErrorKind::DigestMismatch { expected: other, actual: Digest::of(&bytes) },
        ),
    ];
    for (body, kind) in bodies {
        let backend = FaultyBackend::new();
        let store = backend.open().await;
        let error = store.put(&scope(), body, PutOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        store.close().await.unwrap();
        assert_eq!(backend.faulty.open_uploads(), Vec::<String>::new());
        assert_eq!(backend.faulty.count(Call::AbortUpload, "/d/"), 1);
        assert_eq!(backend.residue().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_put_dropped_half_way_aborts_its_upload() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    // Two parts are in flight for ever when the put is dropped; and an abort is tried again.
    backend.faulty.add_rule(Call::Part, "/d/", Outcome::Takes(Duration::from_hours(1)), 2);
    backend.faulty.add_rule(Call::AbortUpload, "/d/", Outcome::Fails, 1);
    let put = async { store.put(&scope(), endless_after(&long_bytes(4)), PutOptions::new()).await };
    assert!(tokio::time::timeout(Duration::from_millis(100), put).await.is_err());
    assert_eq!(backend.faulty.count(Call::Part, "/d/"), 2);
    store.close().await.unwrap();
    assert_eq!(backend.faulty.count(Call::AbortUpload, "/d/"), 2);
    assert_eq!(backend.faulty.open_uploads(), Vec::<String>::new());
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_put_dropped_while_its_upload_is_created_aborts_it() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    backend.faulty.add_rule(Call::CreateUpload, "/d/", Outcome::Takes(Duration::from_millis(200)), 1);
    let put = async { store.put(&scope(), stream_of(&long_bytes(4)), PutOptions::new()).await };
    assert!(tokio::time::timeout(Duration::from_millis(50), put).await.is_err());
    store.close().await.unwrap();
    assert_eq!(backend.faulty.count(Call::CreateUpload, "/d/"), 1);
    assert_eq!(backend.faulty.open_uploads(), Vec::<String>::new());
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_put_dropped_during_its_commit_ends_whole() {
    for key in ["/a/", "/d/"] {
        let backend = FaultyBackend::new();
        let store = backend.open().await;
        backend.faulty.add_rule(Call::Put, key, Outcome::Takes(Duration::from_millis(200)), 1);
        let put = async { store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await };
        assert!(tokio::time::timeout(Duration::from_millis(50), put).await.is_err());
        store.close().await.unwrap();
        let store = backend.open().await;
        // What was sent is completed, except if the store was closed before the record.
        let found = read_all(&store, &id_of(b"hello")).await;
        assert_eq!(found.is_some(), key == "/a/");
        store.close().await.unwrap();
        assert_eq!(backend.residue().await, Vec::<String>::new(), "{key}");
    }
}

#[tokio::test]
async fn a_closed_store_ends_a_put_that_waits_for_its_body_and_aborts_its_upload() {
    let backend = FaultyBackend::new();
    let store = Arc::new(backend.open().await);
    let first = futures_util::stream::iter([Ok::<_, BoxError>(Bytes::from(long_bytes(4)))]);
    let later = futures_util::stream::once(async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(Bytes::from(long_bytes(1)))
    });
    let body = Body::from_stream(first.chain(later));
    let put = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), body, PutOptions::new()).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.close().await.unwrap();
    let error = put.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(backend.faulty.open_uploads(), Vec::<String>::new());
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_long_put_has_a_bounded_number_of_bytes_in_memory() {
    const PARTS: usize = 60;
    let backend = FaultyBackend::new();
    let store = artifact_store_object_store::ObjectArtifactStore::open(backend.config().part_concurrency(3))
        .await
        .unwrap();
    backend.faulty.add_rule(Call::Part, "/d/", Outcome::Takes(Duration::from_millis(5)), PARTS);
    let (produced, most_ahead) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let body = {
        let (faulty, produced, most_ahead) =
            (backend.faulty.clone(), Arc::clone(&produced), Arc::clone(&most_ahead));
        futures_util::stream::iter(0..PARTS).map(move |part| {
            let produced = produced.fetch_add(PART, Ordering::SeqCst) + PART;
            most_ahead.fetch_max(produced - faulty.sent_bytes(), Ordering::SeqCst);
            Ok::<_, BoxError>(Bytes::from(vec![u8::try_from(part).unwrap(); PART]))
        })
    };
    let put = store.put(&scope(), Body::from_stream(body), PutOptions::new()).await.unwrap();
    assert_eq!(put.record.size, (PARTS * PART) as u64);
    assert_eq!(produced.load(Ordering::SeqCst), PARTS * PART);
    assert_eq!(backend.faulty.max_in_flight(), 3 * PART, "parts in flight");
    // Three parts in flight, one that waits, and one that is being filled.
    let most_ahead = most_ahead.load(Ordering::SeqCst);
    assert!(most_ahead <= 5 * PART, "{} parts", most_ahead / PART);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_artifact_is_corrupt_if_its_data_are_gone_or_cut() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    let data = backend.keys("d").await.remove(0);
    backend.overwrite(&data, b"hell").await;
    let error = store.get(&scope(), &put.record.id, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    object_store::ObjectStoreExt::delete(&*backend.objects(), &data).await.unwrap();
    let error = store.get(&scope(), &put.record.id, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_altered_record_is_corrupt_and_can_be_deleted() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    let other = store.put(&scope(), Body::from_bytes("other"), PutOptions::new()).await.unwrap();
    let record = |id: ArtifactId| {
        let objects = backend.objects();
        let keys = backend.keys("a");
        async move {
            for key in keys.await {
                let bytes =
                    object_store::ObjectStoreExt::get(&*objects, &key).await.unwrap().bytes().await.unwrap();
                if String::from_utf8_lossy(&bytes).contains(id.as_str()) {
                    return (key, bytes);
                }
            }
            panic!("no record of {id}")
        }
    };
    let (key, _) = record(put.record.id.clone()).await;
    let (_, other_bytes) = record(other.record.id.clone()).await;
    // The record of another artifact, and no record at all.
    for altered in [other_bytes, Bytes::from_static(b"{}")] {
        object_store::ObjectStoreExt::put(&*backend.objects(), &key, altered.into()).await.unwrap();
        let error = store.stat(&scope(), &put.record.id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let error = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    // The refused puts have left nothing: there are the data of both artifacts. While a record is damaged, nothing of its
    // session is swept.
    assert_eq!(backend.keys("d").await.len(), 2);
    assert_eq!(backend.sweep_all().await.objects, 0);
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    assert_eq!(read_all(&store, &other.record.id).await.unwrap(), b"other");
    store.close().await.unwrap();
    backend.sweep_all().await;
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_delete_whose_second_request_fails_has_deleted_the_artifact() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    backend.faulty.add_rule(Call::Delete, "/a/", Outcome::Fails, 1);
    let error = store.delete(&scope(), &put.record.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(read_all(&store, &put.record.id).await.unwrap(), b"hello");
    // The data are deleted in the background.
    backend.faulty.add_rule(Call::Delete, "/d/", Outcome::Fails, 2);
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    assert_eq!(read_all(&store, &put.record.id).await, None);
    store.close().await.unwrap();
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_read_of_an_artifact_that_is_deleted_between_its_requests_finds_nothing() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    backend.faulty.add_rule(Call::Get, "/d/", Outcome::Takes(Duration::from_secs(1)), 1);
    let (scope, id) = (scope(), put.record.id);
    let (read, deleted) = tokio::join!(store.get(&scope, &id, None), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        store.delete(&scope, &id).await
    });
    assert!(deleted.unwrap());
    assert!(read.unwrap().is_none());
}

#[tokio::test]
async fn the_errors_of_reads_and_listings_have_their_kind() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    let query = artifact_store_core::ListQuery::new(artifact_store_core::ScopePattern::exactly(&scope()));
    for (outcome, kind) in [(Outcome::Fails, ErrorKind::Unavailable), (Outcome::Denied, ErrorKind::Backend)] {
        for (call, key) in [(Call::Get, "/a/"), (Call::Get, "/d/"), (Call::List, "/a/")] {
            backend.faulty.add_rule(call, key, outcome, 1);
            let error = if call == Call::List {
                store.list(&query).await.unwrap_err()
            } else {
                store.get(&scope(), &put.record.id, None).await.unwrap_err()
            };
            assert_eq!(error.kind(), kind, "{call:?} {key}: {error}");
        }
    }
    let got = store.get(&scope(), &put.record.id, None).await.unwrap().unwrap();
    let chunks: Vec<Bytes> = got.stream.try_collect().await.unwrap();
    assert_eq!(chunks.concat(), b"hello");
}
