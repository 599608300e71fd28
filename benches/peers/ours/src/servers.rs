//! The servers that both programs use. Each is a process of its own, so that its CPU time is not that of a client.
//!
//! `serve null-s3`, `serve s3s-fs DIR` and `serve axum` print the address and serve until standard input ends.

#[cfg(feature = "http")]
mod axum;
mod null_s3;

use std::io::{Read, Write};

use artifact_store_bench_load::Error;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn serve(arguments: &[String]) -> Result<(), Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = async {
        match arguments.as_slice() {
            ["null-s3"] => accept(listener, null_s3::NullS3::default()).await,
            #[cfg(feature = "s3")]
            ["s3s-fs", dir] => accept(listener, s3s_fs(dir)?).await,
            #[cfg(feature = "http")]
            ["axum"] => axum::serve(listener).await,
            _ => Err("usage: ours serve null-s3 | s3s-fs DIR | axum".into()),
        }
    };
    let (ended, input) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap_or_default();
        drop(ended);
    });
    tokio::select! {
        result = server => result,
        _ = input => Ok(()),
    }
}

/// s3s-fs, which checks signatures.
#[cfg(feature = "s3")]
fn s3s_fs(dir: &str) -> Result<s3s::service::S3Service, Error> {
    use crate::stores::{S3_BUCKET, S3_KEY};
    std::fs::create_dir_all(std::path::Path::new(dir).join(S3_BUCKET))?;
    let files = s3s_fs::FileSystem::new(dir).map_err(|error| format!("{dir}: {error:?}"))?;
    let mut builder = s3s::service::S3ServiceBuilder::new(files);
    builder.set_auth(s3s::auth::SimpleAuth::from_single(S3_KEY.0, S3_KEY.1));
    Ok(builder.build())
}

async fn accept<S, B>(listener: TcpListener, service: S) -> Result<(), Error>
where
    S: HttpService<Incoming, ResBody = B> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Error>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Error>,
{
    loop {
        let (stream, _): (TcpStream, _) = listener.accept().await?;
        // Without it, the second part of a small response waits 40 ms for the acknowledgement of the first part.
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            // Clients close their connections at any time.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
        });
    }
}
