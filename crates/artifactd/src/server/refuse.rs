//! Connections that are turned away before anything of them is read: [`Refusals`].

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::http;

/// How many are told why at once; further ones are closed without a word.
const MAX_REFUSALS: usize = 64;
/// How long a client may take to hear it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much of what it sends meanwhile is read, and dropped: a connection that is closed over unread bytes is reset, and the
/// client may never see the answer.
const MAX_BYTES: u64 = 64 * 1024;

/// Tells connections that they are not served.
#[derive(Debug)]
pub(super) struct Refusals(Arc<Semaphore>);

impl Refusals {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_REFUSALS)))
    }

    /// Answers whatever `stream` asks for, and closes it.
    pub(super) fn refuse(&self, stream: TcpStream) {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else { return };
        tokio::spawn(async move {
            // What does not arrive is not heard.
            let _ = timeout(PATIENCE, tell(stream)).await;
            drop(permit);
        });
    }
}

async fn tell(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(&http::crowded()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}
