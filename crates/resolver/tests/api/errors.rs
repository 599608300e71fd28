//! The mapping from store errors to codes. Causes must not reach a caller.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{ada, put_request};
use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Digest, Flag, GetResult, Health, ListQuery,
    Page, PresignIntent, PresignedRequest, PutOptions, PutResult, Record, Scope, StoreError, async_trait,
};
use artifact_store_protocol::{Code, GetRequest, ListRequest};
use artifact_store_resolver::{Resolver, ResolverOptions};

/// A text with secrets, which no response may repeat.
const POISON: &str = "postgres://ada:hunter2@db/x /var/lib/secret SELECT * FROM t eyJhbGciOi tenant-zebra";

/// A store whose calls all fail with one error.
#[derive(Debug)]
struct Failing(fn() -> StoreError);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ArtifactStore for Failing {
    fn driver(&self) -> &'static str {
        "failing"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::new().with(Flag::PresignGet).max_presign_expiry(Duration::from_hours(1))
    }
    async fn put(&self, _: &Scope, _: Body, _: PutOptions) -> Result<PutResult, StoreError> {
        Err(self.0())
    }
    async fn get(
        &self,
        _: &Scope,
        _: &ArtifactId,
        _: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        Err(self.0())
    }
    async fn stat(&self, _: &Scope, _: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Err(self.0())
    }
    async fn delete(&self, _: &Scope, _: &ArtifactId) -> Result<bool, StoreError> {
        Err(self.0())
    }
    async fn list(&self, _: &ListQuery) -> Result<Page, StoreError> {
        Err(self.0())
    }
    async fn presign(
        &self,
        _: &Scope,
        _: &PresignIntent,
        _: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        Err(self.0())
    }
    async fn commit_upload(&self, _: &Scope, _: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        Err(self.0())
    }
    async fn health(&self) -> Result<Health, StoreError> {
        Err(self.0())
    }
    async fn close(&self) -> Result<(), StoreError> {
        Err(self.0())
    }
}

fn poisoned(error: StoreError) -> StoreError {
    error.with_source(std::io::Error::other(POISON))
}

#[tokio::test]
async fn every_kind_of_error_has_its_code_and_no_cause_reaches_the_caller() {
    let kinds: [(fn() -> StoreError, Code); 11] = [
        (|| poisoned(StoreError::too_large(5)), Code::RequestTooLarge),
        (|| poisoned(StoreError::digest_mismatch(Digest::of(b"a"), Digest::of(b"b"))), Code::InvalidRequest),
        (|| poisoned(StoreError::unsupported(Flag::PresignGet)), Code::PresignUnsupported),
        (|| poisoned(StoreError::unsupported(Flag::PresignPut)), Code::RuntimeError),
        (|| poisoned(StoreError::unsupported(Flag::Durable)), Code::RuntimeError),
        (|| poisoned(StoreError::invalid(POISON)), Code::InvalidRequest),
        (|| poisoned(StoreError::conflict(POISON)), Code::InvalidRequest),
        (|| poisoned(StoreError::unavailable(POISON)), Code::RuntimeError),
        (|| poisoned(StoreError::corrupt(POISON)), Code::RuntimeError),
        (|| poisoned(StoreError::closed()), Code::RuntimeError),
        (|| poisoned(StoreError::backend(POISON)), Code::RuntimeError),
    ];
    let id = "default_00000000000000000000000000000000".to_owned();
    for (error, code) in kinds {
        let resolver = Resolver::new(Arc::new(Failing(error)), ResolverOptions::default());
        let get = GetRequest { id: id.clone(), ..GetRequest::default() };
        let refusals = [
            resolver.put(&ada(), put_request("x")).await.unwrap_err(),
            resolver.get(&ada(), get).await.unwrap_err(),
            resolver.list(&ada(), ListRequest::default()).await.unwrap_err(),
        ];
        for refusal in refusals {
            assert_eq!((refusal.code(), refusal.status()), (code, code.status()), "{:?}", error());
            let sent = serde_json::to_string(refusal.envelope()).unwrap();
            for word in ["hunter2", "postgres", "/var", "SELECT", "eyJ", "zebra", "default_0"] {
                assert!(!sent.contains(word), "{sent}");
            }
            // The log gets the cause.
            assert!(format!("{refusal:?}").contains("hunter2"));
        }
        let health = serde_json::to_string(&resolver.probe().await).unwrap();
        assert!(health.contains("unavailable") && !health.contains("secret"), "{health}");
    }
}
