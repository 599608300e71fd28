//! s3s-fs as a separate program, so that a test can kill it: `s3s-fs-server ADDRESS ROOT KEY SECRET`.

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

use artifact_store_backends::Error;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, root, key, secret] = arguments.as_slice() else {
        return Err("s3s-fs-server ADDRESS ROOT KEY SECRET".into());
    };
    let files = s3s_fs::FileSystem::new(root).map_err(|error| format!("{root}: {error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(key.as_str(), secret.as_str()));
    let service = builder.build();
    let listener = TcpListener::bind(address).await?;
    loop {
        // A connection that was closed before it was accepted does not affect the next one.
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Otherwise the second part of a small response waits 40 ms for the acknowledgement of the first part.
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            connection.await.unwrap_or_default();
        });
    }
}
