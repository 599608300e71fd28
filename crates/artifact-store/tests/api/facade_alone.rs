//! A program that depends on the facade alone can name every type that a verb accepts or returns.

use std::sync::Arc;
use std::time::Duration;

use artifact_store::{
    ArtifactId, ArtifactRef, ArtifactStore, ArtifactStoreExt, Body, BodyExt, BoxError, ByteRange, ByteReader,
    ByteStream, ByteStreamExt, Bytes, Capabilities, Clock, Config, Cursor, CursorKey, Digest, Driver,
    DriverInfo, ErrorContext, ErrorKind, EventLog, Filter, Flag, FlagKind, Gate, GateOptions, GetResult,
    GetResultExt, Hasher, Health, HealthStatus, HttpBody, ListQuery, LogEntry, LogPage, MediaRange,
    MediaType, Metadata, Namespace, NewEntry, OpenOptions, OptionKind, OptionSpec, OptionValues, Options,
    Page, PresignIntent, PresignedRequest, PresignedUrl, PutOptions, PutOutcome, PutResult, Record,
    RecordStream, Registry, Scope, ScopePart, ScopePattern, ScopedStore, Secret, Source, StoreError,
    StoreFeature, SweepMode, SweepSummary, SystemClock, TaskPattern, TenantPattern, Timestamp, UploadIntent,
    UrlForm, Verb, VerifyReads,
};

type AnyDriver =
    (Arc<dyn Driver>, DriverInfo, UrlForm, OptionKind, OptionSpec, OptionValues, Options, Registry);
type AnyEventLog = (Arc<dyn EventLog>, NewEntry, LogEntry, LogPage);
type AnyGate = (Gate, GateOptions, VerifyReads, CursorKey, FlagKind, ErrorContext, Verb);
type Others = (SweepMode, SweepSummary, StoreFeature, Secret, MediaType<'static>, TaskPattern, TenantPattern);

/// Names the types above that `use_every_verb` does not use. If one did not exist, this file would not compile.
#[allow(clippy::type_complexity)] // A list of names.
fn name_the_others(_: Option<(AnyDriver, AnyEventLog, AnyGate, Others, Arc<dyn Clock>, SystemClock)>) {}

/// Uses every verb and every convenience method of a store, with the type of each argument and result written out.
async fn use_every_verb(store: Arc<dyn ArtifactStore>, folder: &std::path::Path) -> Result<(), BoxError> {
    let scope: Scope = Scope::new("acme", "ada", "session-1")?;
    let mut metadata = Metadata::new();
    metadata.insert("pages".into(), 3.into());
    let options = PutOptions {
        namespace: Namespace::new("reports")?,
        media_type: Some("text/plain".into()),
        source: Source::Tool,
        metadata,
        ..PutOptions::default()
    };
    let body: Body = Body::from("a report").with_digest(Digest::of(b"a report"));
    let put: PutResult = store.put(&scope, body, options.clone()).await?;
    let put_again: PutResult = store.put_bytes(&scope, Bytes::from("a report"), options.clone()).await?;
    assert_eq!((put.outcome, put_again.outcome), (PutOutcome::Created, PutOutcome::AlreadyExists));
    let text: PutResult = store.put_text(&scope, "a text", PutOptions::default()).await?;
    let id: ArtifactId = put.record.id.clone();
    let reference: ArtifactRef = put.record.artifact_ref();
    assert_eq!(reference.id, id);

    let get: GetResult = store.get(&scope, &id, None).await?.ok_or("missing")?;
    let stream: ByteStream = get.stream;
    assert_eq!(stream.collect_bytes(100).await?, "a report");
    let part: GetResult = store.get_range(&scope, &id, ..=0).await?.ok_or("missing")?;
    let reader: ByteReader = part.stream.into_reader();
    drop(reader);
    let range: ByteRange = ByteRange::Suffix(2);
    let part: GetResult = store.get_range(&scope, &id, range).await?.ok_or("missing")?;
    drop(HttpBody::from(part));
    let bytes: Option<Bytes> = store.get_bytes(&scope, &id, 100).await?;
    let string: Option<String> = store.get_text(&scope, &id, 100).await?;
    assert_eq!((bytes.as_deref(), string.as_deref()), (Some(&b"a report"[..]), Some("a report")));
    let record: Option<Record> = store.stat(&scope, &id).await?;
    let created: Option<Timestamp> = record.map(|record| record.created_at);
    assert!(created.is_some() && store.exists(&scope, &id).await?);

    let path = folder.join("report");
    let whole: GetResult = store.get(&scope, &id, None).await?.ok_or("missing")?;
    let saved: u64 = whole.save_to(&path).await?;
    let from_file: Body = Body::from_path(&path).await?;
    assert_eq!(from_file.length(), Some(saved));

    let media_types: Vec<MediaRange> = vec!["text/*".parse()?];
    let filter = Filter { media_types, ..Filter::default() };
    let query =
        ListQuery::new(ScopePattern::tenant(ScopePart::new("acme")?)).with_filter(filter).with_limit(1);
    let page: Page = store.list(&query).await?;
    let cursor: Option<Cursor> = page.next;
    assert!(cursor.is_some());
    let rows: RecordStream = store.list_all(query);
    let rows: Vec<Record> = futures_util::TryStreamExt::try_collect(rows).await?;
    assert_eq!(rows.len(), 2, "the stream goes on after the first page");

    let capabilities: Capabilities = store.capabilities();
    assert!(!capabilities.has(Flag::PresignGet));
    let minute = Duration::from_mins(1);
    let get = PresignIntent::Get { id: id.clone() };
    let presigned: Result<Option<PresignedRequest>, StoreError> = store.presign(&scope, &get, minute).await;
    let url: Result<Option<PresignedUrl>, StoreError> =
        presigned.map(|request| request.map(|request| request.url));
    assert_eq!(url.map_err(|error| error.kind()), Err(ErrorKind::Unsupported(Flag::PresignGet)));
    let upload = UploadIntent::new(Digest::of(b"x"), 1, options);
    let upload_id: ArtifactId = upload.id();
    let presigned = store.presign(&scope, &PresignIntent::Put(upload), minute).await;
    assert_eq!(presigned.map_err(|error| error.kind()), Err(ErrorKind::Unsupported(Flag::PresignPut)));
    let committed: Result<Option<PutResult>, StoreError> = store.commit_upload(&scope, &upload_id).await;
    assert_eq!(committed.map_err(|error| error.kind()), Err(ErrorKind::Unsupported(Flag::PresignPut)));

    let handle: ScopedStore = store.scoped(scope);
    assert!(handle.delete(&text.record.id).await?);
    let health: Health = store.health().await?;
    assert_eq!((health.status, store.driver()), (HealthStatus::Ready, "inmem"));
    let mut hasher = Hasher::new();
    hasher.update(b"a report");
    assert_eq!(hasher.finish(), put.record.digest);
    store.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_program_uses_every_verb_through_the_facade_alone() {
    name_the_others(None);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    // The program runs in a task of its own, which shows that every future is `Send` and `'static`.
    let program = async move {
        let config: Config = "inmem:".parse()?;
        let store = OpenOptions::new().open(&config).await?;
        use_every_verb(store, &path).await
    };
    tokio::spawn(program).await.unwrap().unwrap();
}
