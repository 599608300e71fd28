//! A runtime has its own axum application. The application serves the protocol in addition to the routes of the
//! runtime.
//!
//! ```sh
//! artifactd keygen keys
//! cargo run -p artifact-store-server --example mounted -- keys/jwks.json
//! ```

use std::sync::Arc;

use artifact_store::ArtifactStore;
use artifact_store_identity::{IdentitySettings, Verifier};
use artifact_store_resolver::{Resolver, ResolverOptions};
use artifact_store_server::{App, ServerSettings, router};
use axum::Router;
use axum::routing::get;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Returns the application: a route of the runtime, and the protocol for `store`.
pub fn application(store: Arc<dyn ArtifactStore>, verifier: Verifier) -> Router {
    let settings = ServerSettings::default();
    let resolver = Resolver::new(store, ResolverOptions::default());
    let artifacts = Arc::new(App::new(resolver, verifier, &settings));
    Router::new().route("/", get(async || "my runtime")).merge(router(&artifacts, &settings))
}

#[tokio::main]
#[allow(dead_code)] // A test includes this file and calls only `application`.
async fn main() -> Result<(), BoxError> {
    let jwks_file = std::env::args().nth(1).ok_or("usage: mounted JWKS_FILE")?;
    let keys = IdentitySettings { jwks_file: Some(jwks_file.into()), ..IdentitySettings::default() };
    let store = artifact_store::open(&"inmem:".parse()?).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, application(store, Verifier::open(&keys).await?)).await?;
    Ok(())
}
