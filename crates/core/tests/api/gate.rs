//! The Gate detects every wrong result of the store below it.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, ByteRange, ByteStream, Bytes, Capabilities, CursorKey,
    ErrorKind, Filter, Flag, Gate, GateOptions, GetResult, Health, ListQuery, Page, PresignIntent,
    PutOptions, PutResult, Record, Scope, ScopePart, ScopePattern, StoreError, Verb, VerifyReads,
    async_trait,
};
use artifact_store_inmem::{InmemConfig, InmemStore};
use futures_util::{StreamExt, stream};

/// The fault that the store below the gate injects into its results.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    OtherScope,
    OtherId,
    ShortDigestCollision,
    AlteredByte,
    OneByteLess,
    OneByteMore,
    OtherRange,
    ReversedRows,
    ForeignRow,
    TooManyRows,
    CursorWithoutRows,
    CursorBeforeLastRow,
    CursorOfAnotherQuery,
    FailingStream,
    UnadvertisedPresign,
}

#[derive(Debug)]
struct FaultyStore {
    inner: InmemStore,
    fault: Fault,
}

impl FaultyStore {
    fn record(&self, mut record: Record) -> Record {
        match self.fault {
            Fault::OtherScope => record.scope = Scope::new("evil", "ada", "s").unwrap(),
            Fault::OtherId => record.id = "default_00000000000000000000000000000000".parse().unwrap(),
            _ => {}
        }
        record
    }
}

#[async_trait]
impl ArtifactStore for FaultyStore {
    fn driver(&self) -> &'static str {
        "faulty"
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        let put = self.inner.put(scope, body, options).await?;
        if self.fault == Fault::ShortDigestCollision {
            // As in a store that compares only 48 bits of the digest.
            let colliding =
                self.inner.put_text(scope, "another artifact altogether", PutOptions::default()).await?;
            return Ok(PutResult { record: colliding.record, ..put });
        }
        Ok(PutResult { record: self.record(put.record), ..put })
    }
    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let Some(mut get) = self.inner.get(scope, id, range).await? else { return Ok(None) };
        get.record = self.record(get.record);
        let mut bytes = get.stream.collect_bytes(u64::MAX).await?.to_vec();
        match self.fault {
            Fault::AlteredByte => bytes[0] ^= 1,
            Fault::OneByteLess => _ = bytes.pop(),
            Fault::OneByteMore => bytes.push(0),
            Fault::OtherRange => get.range = get.range.start..get.range.end + 1,
            _ => {}
        }
        // Several pieces, so that the gate can hold back the last one.
        let mut pieces: Vec<_> = bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if self.fault == Fault::FailingStream {
            pieces.insert(1, Err(StoreError::unavailable("gone in the middle")));
        }
        get.stream = ByteStream::new(stream::iter(pieces));
        Ok(Some(get))
    }
    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Ok(self.inner.stat(scope, id).await?.map(|record| self.record(record)))
    }
    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.inner.delete(scope, id).await
    }
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let query =
            if self.fault == Fault::TooManyRows { query.clone().with_limit(1000) } else { query.clone() };
        let mut page = self.inner.list(&query).await?;
        match self.fault {
            Fault::ReversedRows => page.rows.reverse(),
            Fault::ForeignRow => page.rows[0].scope = Scope::new("evil", "ada", "s").unwrap(),
            Fault::CursorWithoutRows => page.rows.clear(),
            Fault::CursorBeforeLastRow => page.next = self.inner.list(&query.with_limit(1)).await?.next,
            Fault::CursorOfAnotherQuery => {
                // The rows are the same, so the cursor is at the last row.
                let other = ListQuery::new(ScopePattern::exactly(&scope())).with_limit(query.limit());
                page.next = self.inner.list(&other).await?.next;
                assert!(page.next.is_some() && other.pattern() != query.pattern());
            }
            _ => {}
        }
        Ok(page)
    }
    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<artifact_store_core::PresignedRequest>, StoreError> {
        assert_ne!(
            self.fault,
            Fault::UnadvertisedPresign,
            "the gate called a store that does not advertise the flag"
        );
        self.inner.presign(scope, intent, expiry).await
    }
    async fn health(&self) -> Result<Health, StoreError> {
        self.inner.health().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        // This deliberately does nothing: the gate must close itself.
        Ok(())
    }
}

fn scope() -> Scope {
    Scope::new("acme", "ada", "s").unwrap()
}

fn gate(fault: Fault, options: GateOptions) -> Gate {
    Gate::new(Arc::new(FaultyStore { inner: InmemStore::new(InmemConfig::new()), fault }), options).unwrap()
}

const BODY: &[u8] = &[42; 4500];

/// Returns a gate over a faulty store with four artifacts, and the id of [`BODY`]. The other three artifacts are small.
async fn filled_gate(fault: Fault, options: GateOptions) -> (Gate, ArtifactId) {
    let store = FaultyStore { inner: InmemStore::new(InmemConfig::new()), fault: Fault::None };
    for n in 0..3_u8 {
        store.put_bytes(&scope(), vec![n], PutOptions::default()).await.unwrap();
    }
    let put = store.put_bytes(&scope(), BODY, PutOptions::default()).await.unwrap();
    (Gate::new(Arc::new(FaultyStore { inner: store.inner, fault }), options).unwrap(), put.record.id)
}

#[tokio::test]
async fn a_result_of_another_scope_or_id_is_corrupt() {
    for fault in [Fault::OtherScope, Fault::OtherId] {
        let (gate, id) = filled_gate(fault, GateOptions::default()).await;
        assert_eq!(gate.stat(&scope(), &id).await.unwrap_err().kind(), ErrorKind::Corrupt, "stat, {fault:?}");
        assert_eq!(
            gate.get(&scope(), &id, None).await.unwrap_err().kind(),
            ErrorKind::Corrupt,
            "get, {fault:?}"
        );
        let put = gate.put_text(&scope(), "x", PutOptions::default()).await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::Corrupt, "put, {fault:?}");
    }
}

#[tokio::test]
async fn a_put_that_returns_the_record_of_other_bytes_is_corrupt() {
    let gate = gate(Fault::ShortDigestCollision, GateOptions::default());
    let in_memory = Body::from("bytes");
    let streamed = Body::from_stream(stream::iter([Ok::<_, StoreError>(Bytes::from("bytes"))]));
    for body in [in_memory, streamed] {
        let put = gate.put(&scope(), body, PutOptions::default()).await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn a_filter_of_too_many_or_too_long_values_is_refused() {
    let gate = gate(Fault::None, GateOptions::default());
    let tags =
        |count: usize, length: usize| Filter { tags: vec!["x".repeat(length); count], ..Filter::default() };
    for (filter, fits) in
        [(tags(256, 10), true), (tags(257, 10), false), (tags(1, 4096), true), (tags(1, 4097), false)]
    {
        let query = ListQuery::new(ScopePattern::exactly(&scope())).with_filter(filter);
        assert_eq!(gate.list(&query).await.is_ok(), fits);
    }
}

#[tokio::test]
async fn metadata_that_is_too_deep_is_refused() {
    let gate = gate(Fault::None, GateOptions::default());
    for (containers, fits) in [(64, true), (65, false), (5000, false)] {
        let mut value = serde_json::Value::Null;
        for _ in 1..containers {
            value = serde_json::Value::Array(vec![value]);
        }
        let mut options = PutOptions::default();
        options.metadata.insert("deep".into(), value);
        assert_eq!(gate.put_text(&scope(), "x", options).await.is_ok(), fits, "{containers}");
    }
}

#[tokio::test]
async fn a_read_of_other_bytes_than_the_record_says_ends_with_an_error() {
    for (fault, range, verify, fails) in [
        (Fault::None, None, VerifyReads::Always, false),
        (Fault::AlteredByte, None, VerifyReads::Always, true),
        (Fault::AlteredByte, Some(ByteRange::from(0..)), VerifyReads::Always, true),
        (Fault::AlteredByte, None, VerifyReads::Never, false),
        (Fault::AlteredByte, Some(ByteRange::from(0..10)), VerifyReads::Always, false),
        (Fault::OneByteLess, None, VerifyReads::Never, true),
        (Fault::OneByteMore, None, VerifyReads::Never, true),
        (Fault::OneByteLess, Some(ByteRange::from(0..10)), VerifyReads::Never, true),
        (Fault::OneByteMore, Some(ByteRange::from(0..3000)), VerifyReads::Always, true),
    ] {
        let (gate, id) = filled_gate(fault, GateOptions::default().with_verify_reads(verify)).await;
        let get = gate.get(&scope(), &id, range).await.unwrap().unwrap();
        let expected = get.range.end - get.range.start;
        let mut stream = get.stream;
        let (mut seen, mut failure) = (0, None);
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => seen += piece.len() as u64,
                Err(error) => failure = Some(error),
            }
        }
        let case = format!("{fault:?} {range:?} {verify:?}");
        assert_eq!(failure.as_ref().map(StoreError::kind), fails.then_some(ErrorKind::Corrupt), "{case}");
        if fails {
            assert!(
                seen < expected,
                "{case}: a reader that counts bytes would accept {seen} of {expected} bytes as complete"
            );
            assert_eq!(failure.unwrap().context().unwrap().verb, Verb::Get);
        } else {
            assert_eq!(seen, expected, "{case}");
        }
    }
}

#[tokio::test]
async fn a_returned_range_must_be_the_requested_one() {
    let (gate, id) = filled_gate(Fault::OtherRange, GateOptions::default()).await;
    let error = gate.get(&scope(), &id, Some((5..9).into())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn an_error_of_a_stream_names_the_driver_the_verb_and_the_id() {
    let (gate, id) = filled_gate(Fault::FailingStream, GateOptions::default()).await;
    let get = gate.get(&scope(), &id, None).await.unwrap().unwrap();
    let error = get.stream.collect_bytes(u64::MAX).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        format!("faulty get {id}: the store is unavailable, try again: gone in the middle")
    );
}

#[tokio::test]
async fn a_page_out_of_order_outside_the_query_or_above_the_limit_is_corrupt() {
    for fault in [Fault::ReversedRows, Fault::ForeignRow, Fault::TooManyRows] {
        let (gate, _) = filled_gate(fault, GateOptions::default()).await;
        let query = ListQuery::new(ScopePattern::tenant(ScopePart::new("acme").unwrap())).with_limit(3);
        assert_eq!(gate.list(&query).await.unwrap_err().kind(), ErrorKind::Corrupt, "{fault:?}");
    }
}

#[tokio::test]
async fn a_cursor_that_does_not_lead_past_the_rows_of_its_page_is_corrupt() {
    for fault in [Fault::CursorWithoutRows, Fault::CursorBeforeLastRow, Fault::CursorOfAnotherQuery] {
        let (gate, _) = filled_gate(fault, GateOptions::default()).await;
        let query = ListQuery::new(ScopePattern::tenant(ScopePart::new("acme").unwrap())).with_limit(3);
        assert_eq!(gate.list(&query).await.unwrap_err().kind(), ErrorKind::Corrupt, "{fault:?}");
    }
}

#[tokio::test]
async fn a_verb_without_its_flag_is_refused_and_the_driver_is_not_called() {
    let gate = gate(Fault::UnadvertisedPresign, GateOptions::default());
    let intent = PresignIntent::Get { id: "a_00000000000000000000000000000000".parse().unwrap() };
    let error = gate.presign(&scope(), &intent, Duration::from_mins(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported(Flag::PresignGet));
}

#[tokio::test]
async fn after_close_a_verb_is_refused_even_if_the_driver_stays_open() {
    let (gate, id) = filled_gate(Fault::None, GateOptions::default()).await;
    gate.close().await.unwrap();
    gate.close().await.unwrap();
    let error = gate.stat(&scope(), &id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(error.to_string(), format!("faulty stat {id}: the store is closed"));
}

#[tokio::test]
async fn the_configured_limit_is_advertised_and_enforced() {
    let gate = gate(Fault::None, GateOptions::default().with_max_artifact_bytes(10));
    assert_eq!(gate.capabilities().artifact_bytes_limit(), 10);
    assert!(gate.put_bytes(&scope(), vec![1; 10], PutOptions::default()).await.is_ok());
    let error = gate.put_bytes(&scope(), vec![1; 11], PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge { limit: 10 });
}

#[tokio::test]
async fn options_that_are_too_large_are_refused() {
    let gate = gate(Fault::None, GateOptions::default());
    let options = PutOptions { filename: Some("x".repeat(64 * 1024)), ..PutOptions::default() };
    let error = gate.put_text(&scope(), "x", options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn options_are_refused_exactly_if_their_json_is_too_large() {
    let gate = gate(Fault::None, GateOptions::default());
    // How long the text of a character is in JSON.
    for (character, json_bytes) in [("x", 1), ("\"", 2), ("\u{1}", 6), ("\u{e9}", 2)] {
        for tag_characters in [1, 100] {
            let tag_bytes: usize = tag_characters * json_bytes + 3;
            let about_as_many_as_fit = 64 * 1024 / tag_bytes;
            for count in about_as_many_as_fit.saturating_sub(60)..=about_as_many_as_fit + 1 {
                let tags = vec![character.repeat(tag_characters); count];
                let options = PutOptions { tags, ..PutOptions::default() };
                let fits = serde_json::to_vec(&options).unwrap().len() <= 64 * 1024;
                assert_eq!(options.validate().is_ok(), fits, "{character:?} {tag_characters}");
            }
        }
    }
    let options = PutOptions { filename: Some("\u{1}".repeat(10_000)), ..PutOptions::default() };
    assert!(gate.put_text(&scope(), "x", options).await.is_ok());
}

#[tokio::test]
async fn a_cursor_is_accepted_only_by_gates_with_the_same_secret() {
    let store: Arc<dyn ArtifactStore> = Arc::new(InmemStore::new(InmemConfig::new()));
    let gate_with = |secret: Option<&[u8]>| {
        let options = GateOptions::default();
        let options = match secret {
            Some(secret) => options.with_cursor_key(CursorKey::from_secret(secret).unwrap()),
            None => options,
        };
        Gate::new(Arc::clone(&store), options).unwrap()
    };
    let one = gate_with(Some(b"a secret of sixteen bytes"));
    for n in 0..3_u8 {
        one.put_bytes(&scope(), vec![n], PutOptions::default()).await.unwrap();
    }
    let query = ListQuery::new(ScopePattern::exactly(&scope())).with_limit(1);
    let next = one.list(&query).await.unwrap().next.unwrap();
    assert!(next.as_text().is_some());
    let next_query = query.with_cursor(Some(next));
    assert!(gate_with(Some(b"a secret of sixteen bytes")).list(&next_query).await.is_ok());
    for other in [gate_with(Some(b"another one of 16 bytes")), gate_with(None)] {
        assert_eq!(other.list(&next_query).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    // A gate does not accept a cursor of a bare store.
    let bare = store.list(&ListQuery::new(ScopePattern::exactly(&scope())).with_limit(1)).await.unwrap().next;
    let query = ListQuery::new(ScopePattern::exactly(&scope())).with_cursor(bare);
    assert_eq!(one.list(&query).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(CursorKey::from_secret(b"short").is_err());
}

#[tokio::test]
async fn the_gate_keeps_the_source_of_an_error() {
    let gate = gate(Fault::None, GateOptions::default());
    let body = Body::from_stream(stream::iter([Err::<Bytes, _>(std::io::Error::other("cable cut"))]));
    let error = gate.put(&scope(), body, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "cable cut");
    assert_eq!(error.context().unwrap().driver, "faulty");
}
