//! A store that fails on order, in every way that a store can, and always with more in its errors than a caller may read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, ByteStream, Bytes, Capabilities, Digest, ErrorKind, Flag,
    Get, Health, ListQuery, Page, PresignIntent, Presigned, Put, PutOptions, Record, Scope, StoreError,
    async_trait,
};
use artifact_store_protocol::Code;
use futures_util::{StreamExt, stream};

/// What a storage's own errors may hold: a DSN with its password, a path of the host, SQL, a token, another tenant.
pub(super) const POISON: &str = "postgres://root:hunter2@db.internal/x failed at /var/lib/secret/file: \
    SELECT * FROM artifacts WHERE token = 'eyJhbGciOiJIUzI1NiJ9.e30.c2ln' AND tenant = 'tenant-zebra'";

/// No answer may hold any of these, in whatever case.
pub(super) const WORDS: [&str; 9] =
    ["postgres", "hunter2", "db.internal", "/var/lib", "secret", "select *", "eyjhbg", "c2ln", "zebra"];

/// An error, made anew for each call.
pub(super) type Make = fn() -> StoreError;

/// The rows of the table below. A kind or a flag that has none does not compile.
macro_rules! kinds {
    ($($kind:pat => $make:expr, $code:ident;)+) => {
        /// Every kind of error with a poisoned cause, and the code that it has to become.
        pub(super) const KINDS: &[(Make, Code)] = &[$((|| poisoned($make), Code::$code),)+];

        /// Which row is that of a kind.
        pub(super) fn row(kind: ErrorKind) -> &'static str {
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
    ErrorKind::InvalidArgument => StoreError::invalid(POISON), InvalidRequest;
    ErrorKind::Conflict => StoreError::conflict(POISON), InvalidRequest;
    ErrorKind::Unavailable => StoreError::unavailable(POISON), RuntimeError;
    ErrorKind::Corrupt => StoreError::corrupt(POISON), RuntimeError;
    ErrorKind::Closed => StoreError::closed(), RuntimeError;
    ErrorKind::Backend => StoreError::backend(POISON), RuntimeError;
}

fn poisoned(error: StoreError) -> StoreError {
    error.with_source(std::io::Error::other(POISON))
}

/// How the store fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failing {
    /// Not at all.
    No,
    /// Every verb.
    Verbs(Make),
    /// Presigning alone, so that the artifact is found before.
    Presign(Make),
    /// The bytes of an artifact, before the first.
    FirstPiece(Make),
    /// The bytes of an artifact, half-way.
    Midway(Make),
    /// Every verb, and not with an error.
    Panic,
    /// The bytes of an artifact half-way, and not with an error.
    PanicMidway,
}

/// A store over another, which works until it is told to fail.
#[derive(Debug)]
pub(super) struct Poisoned {
    store: Arc<dyn ArtifactStore>,
    failing: Mutex<Failing>,
}

impl Poisoned {
    pub(super) fn over(store: Arc<dyn ArtifactStore>) -> Self {
        Self { store, failing: Mutex::new(Failing::No) }
    }

    pub(super) fn fail(&self, failing: Failing) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
    }

    fn failing(&self) -> Failing {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verb(&self) -> Result<(), StoreError> {
        match self.failing() {
            Failing::Verbs(make) => Err(make()),
            Failing::Panic => panic!("{POISON}"),
            _ => Ok(()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ArtifactStore for Poisoned {
    fn driver(&self) -> &'static str {
        self.store.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities().with(Flag::PresignGet).max_presign_expiry(Duration::from_hours(1))
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        self.verb()?;
        self.store.put(scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        self.verb()?;
        let Some(get) = self.store.get(scope, id, range).await? else { return Ok(None) };
        let Get { record, range, stream } = get;
        let half = async |stream: ByteStream| {
            let bytes = stream.collect_bytes(u64::MAX).await?;
            Ok::<_, StoreError>(bytes.slice(..bytes.len() / 2))
        };
        // What fails half-way fails when the half has gone out: a pause lets the connection send it.
        let then = |half: Bytes, fail: Make| {
            let failure = async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(fail())
            };
            ByteStream::new(stream::iter([Ok(half)]).chain(stream::once(failure)))
        };
        let stream = match self.failing() {
            Failing::FirstPiece(make) => ByteStream::new(stream::iter([Err(make())])),
            Failing::Midway(make) => then(half(stream).await?, make),
            Failing::PanicMidway => then(half(stream).await?, || panic!("{POISON}")),
            _ => stream,
        };
        Ok(Some(Get { record, range, stream }))
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.verb()?;
        self.store.stat(scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.verb()?;
        self.store.delete(scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.verb()?;
        self.store.list(query).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<Presigned>, StoreError> {
        self.verb()?;
        if let Failing::Presign(make) = self.failing() {
            return Err(make());
        }
        self.store.presign(scope, intent, expiry).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Put>, StoreError> {
        self.verb()?;
        self.store.commit_upload(scope, id).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.verb()?;
        self.store.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
