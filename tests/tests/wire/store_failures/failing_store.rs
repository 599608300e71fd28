//! A store that fails on demand in every way a store can, with more in its errors than a caller may read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, ByteStream, Bytes, Capabilities, Digest, ErrorKind, Flag,
    GetResult, Health, ListQuery, Page, PresignIntent, PresignedRequest, PutOptions, PutResult, Record,
    Scope, StoreError, async_trait,
};
use artifact_store_protocol::Code;
use futures_util::{StreamExt, stream};

/// What an error of a storage may contain: a DSN with its password, a path of the host, SQL, a token, another tenant.
pub(super) const SENSITIVE_TEXT: &str = "postgres://root:hunter2@db.internal/x failed at /var/lib/secret/file: \
    SELECT * FROM artifacts WHERE token = 'eyJhbGciOiJIUzI1NiJ9.e30.c2ln' AND tenant = 'tenant-zebra'";

/// No response may contain any of these, in upper or lower case.
pub(super) const SENSITIVE_WORDS: [&str; 9] =
    ["postgres", "hunter2", "db.internal", "/var/lib", "secret", "select *", "eyjhbg", "c2ln", "zebra"];

/// Creates an error for each call.
pub(super) type MakeError = fn() -> StoreError;

/// The rows of the table below. A kind or a flag without a row does not compile.
macro_rules! kinds {
    ($($kind:pat => $make:expr, $code:ident;)+) => {
        /// Every kind of error with a sensitive cause, and the code that it must map to.
        pub(super) const KINDS: &[(MakeError, Code)] = &[$((|| with_sensitive_cause($make), Code::$code),)+];

        /// The name of a kind of error.
        pub(super) fn kind_name(kind: ErrorKind) -> &'static str {
            match kind { $($kind => stringify!($kind),)+ }
        }
    };
}

kinds! {
    ErrorKind::TooLarge { .. } => StoreError::too_large(5), RequestTooLarge;
    ErrorKind::DigestMismatch { .. } => StoreError::digest_mismatch(Digest::of(b"a"), Digest::of(b"b")), InvalidRequest;
    ErrorKind::Unsupported(Flag::PresignGet) => StoreError::unsupported(Flag::PresignGet), PresignUnsupported;
    ErrorKind::Unsupported(Flag::PresignPut) => StoreError::unsupported(Flag::PresignPut), RuntimeError;
    ErrorKind::Unsupported(Flag::Durable) => StoreError::unsupported(Flag::Durable), RuntimeError;
    ErrorKind::Unsupported(Flag::Shared) => StoreError::unsupported(Flag::Shared), RuntimeError;
    ErrorKind::InvalidArgument => StoreError::invalid(SENSITIVE_TEXT), InvalidRequest;
    ErrorKind::Conflict => StoreError::conflict(SENSITIVE_TEXT), InvalidRequest;
    ErrorKind::Unavailable => StoreError::unavailable(SENSITIVE_TEXT), RuntimeError;
    ErrorKind::Corrupt => StoreError::corrupt(SENSITIVE_TEXT), RuntimeError;
    ErrorKind::Closed => StoreError::closed(), RuntimeError;
    ErrorKind::Backend => StoreError::backend(SENSITIVE_TEXT), RuntimeError;
}

fn with_sensitive_cause(error: StoreError) -> StoreError {
    error.with_source(std::io::Error::other(SENSITIVE_TEXT))
}

/// How the store fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum FailureMode {
    /// It does not fail.
    Never,
    /// Every verb returns an error.
    EveryVerb(MakeError),
    /// Only presigning returns an error, after the artifact was found.
    Presign(MakeError),
    /// The stream of an artifact fails before the first byte.
    FirstChunk(MakeError),
    /// The stream of an artifact fails half-way.
    Midway(MakeError),
    /// Every verb panics.
    Panic,
    /// The stream of an artifact panics half-way.
    PanicMidway,
}

/// A store over another one. It works until a failure mode is set.
#[derive(Debug)]
pub(super) struct FailingStore {
    store: Arc<dyn ArtifactStore>,
    mode: Mutex<FailureMode>,
}

impl FailingStore {
    pub(super) fn new(store: Arc<dyn ArtifactStore>) -> Self {
        Self { store, mode: Mutex::new(FailureMode::Never) }
    }

    pub(super) fn set_failure_mode(&self, mode: FailureMode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    fn mode(&self) -> FailureMode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail_if_configured(&self) -> Result<(), StoreError> {
        match self.mode() {
            FailureMode::EveryVerb(make) => Err(make()),
            FailureMode::Panic => panic!("{SENSITIVE_TEXT}"),
            _ => Ok(()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ArtifactStore for FailingStore {
    fn driver(&self) -> &'static str {
        self.store.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities().with(Flag::PresignGet).max_presign_expiry(Duration::from_hours(1))
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.fail_if_configured()?;
        self.store.put(scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.fail_if_configured()?;
        let Some(get) = self.store.get(scope, id, range).await? else { return Ok(None) };
        let GetResult { record, range, stream } = get;
        let half = async |stream: ByteStream| {
            let bytes = stream.collect_bytes(u64::MAX).await?;
            Ok::<_, StoreError>(bytes.slice(..bytes.len() / 2))
        };
        // The failure comes after a pause, so that the connection can send the first half.
        let then = |half: Bytes, fail: MakeError| {
            let failure = async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(fail())
            };
            ByteStream::new(stream::iter([Ok(half)]).chain(stream::once(failure)))
        };
        let stream = match self.mode() {
            FailureMode::FirstChunk(make) => ByteStream::new(stream::iter([Err(make())])),
            FailureMode::Midway(make) => then(half(stream).await?, make),
            FailureMode::PanicMidway => then(half(stream).await?, || panic!("{SENSITIVE_TEXT}")),
            _ => stream,
        };
        Ok(Some(GetResult { record, range, stream }))
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.fail_if_configured()?;
        self.store.stat(scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.fail_if_configured()?;
        self.store.delete(scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.fail_if_configured()?;
        self.store.list(query).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        self.fail_if_configured()?;
        if let FailureMode::Presign(make) = self.mode() {
            return Err(make());
        }
        self.store.presign(scope, intent, expiry).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        self.fail_if_configured()?;
        self.store.commit_upload(scope, id).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.fail_if_configured()?;
        self.store.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
