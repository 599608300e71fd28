//! The least that axum needs for a put and a get: the body is dropped, or hashed with SHA-256 and dropped.

use artifact_store_bench_load::{Error, KIB};
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, put};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// What a get returns, as large as what the benchmark puts.
static BODY: [u8; KIB as usize] = [7; KIB as usize];

pub(super) async fn serve(listener: TcpListener) -> Result<(), Error> {
    use axum::serve::ListenerExt;
    let router = Router::new()
        .route("/v1/artifacts/{id}", get(async || &BODY[..]))
        .route("/v1/artifacts", put(async |body: Body| read(body, false).await))
        .route("/hashed", put(async |body: Body| read(body, true).await))
        .layer(DefaultBodyLimit::disable());
    // Without it, the second part of a small response waits 40 ms for the acknowledgement of the first part.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap_or_default());
    Ok(axum::serve(listener, router).await?)
}

async fn read(body: Body, hashed: bool) -> Result<&'static str, String> {
    let (mut stream, mut hasher) = (body.into_data_stream(), Sha256::new());
    while let Some(chunk) = stream.try_next().await.map_err(|error| error.to_string())? {
        if hashed {
            hasher.update(&chunk);
        }
    }
    std::hint::black_box(hasher.finalize());
    Ok(r#"{"ref":{"id":"default_0"}}"#)
}
