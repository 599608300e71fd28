//! Shared helpers: a resolver over an in-memory store, and its callers.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::sync::Arc;

use artifact_store_core::{ArtifactStore, Gate, GateOptions, Scope};
use artifact_store_inmem::{InmemConfig, InmemStore};
use artifact_store_protocol::{Code, PutRequest, RequestScope};
use artifact_store_resolver::{Caller, Refusal, Resolver, ResolverOptions};

pub(crate) fn store() -> Arc<dyn ArtifactStore> {
    let bare = Arc::new(InmemStore::new(InmemConfig::new()));
    Arc::new(Gate::new(bare, GateOptions::default()).unwrap())
}

pub(crate) fn resolver() -> Resolver {
    Resolver::new(store(), ResolverOptions::default())
}

pub(crate) fn caller(tenant: &str, user: &str, session: &str) -> Caller {
    Caller::new(&Scope::new(tenant, user, session).unwrap())
}

pub(crate) fn ada() -> Caller {
    caller("acme", "ada", "s1")
}

pub(crate) fn scope(tenant: &str, user: &str, session: &str) -> RequestScope {
    RequestScope { tenant: tenant.into(), user: user.into(), session: session.into(), task: String::new() }
}

pub(crate) fn put_request(bytes: &'static str) -> PutRequest {
    PutRequest { bytes: bytes.into(), ..PutRequest::default() }
}

/// Puts `bytes` for `caller` and returns the id.
pub(crate) async fn put_bytes(resolver: &Resolver, caller: &Caller, bytes: &'static str) -> String {
    resolver.put(caller, put_request(bytes)).await.unwrap().artifact.id.to_string()
}

/// The code of the refusal, or `None` if the call succeeded.
pub(crate) fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
    result.err().map(|refusal| refusal.code())
}
