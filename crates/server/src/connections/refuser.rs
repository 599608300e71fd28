//! The refusal of connections before anything is read from them: [`ConnectionRefuser`].

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Maximum number of refusals that are sent at the same time. Further connections are closed without a response.
const MAX_REFUSALS: usize = 64;
/// How long a refusal may take: to send the response, and to wait until the client closes its half of the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of bytes that are read from the client and dropped. Closing a socket with unread bytes resets the
/// connection, and then the client may not see the response.
const MAX_DRAINED_BYTES: u64 = 64 * 1024;

/// Sends refusals to connections that are not served.
#[derive(Debug)]
pub(crate) struct ConnectionRefuser {
    permits: Arc<Semaphore>,
    make_response: fn() -> Vec<u8>,
}

impl ConnectionRefuser {
    /// `make_response` returns the bytes of a refusal.
    pub(crate) fn new(make_response: fn() -> Vec<u8>) -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_REFUSALS)), make_response }
    }

    /// Sends the refusal on `stream`, whatever the client requests, and closes the connection. The refusal is sent by a
    /// new task, so this function returns at once.
    pub(crate) fn refuse(&self, stream: TcpStream) {
        // Without a permit, `stream` is dropped, and the connection is closed without a response.
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
        let response = (self.make_response)();
        tokio::spawn(async move {
            // After an error or a timeout, the client may not get the refusal. Nothing more can be done.
            let _ = timeout(SEND_TIMEOUT, send(stream, &response)).await;
            drop(permit);
        });
    }
}

/// Sends `response` and waits until the client closes its half of the connection, or has sent [`MAX_DRAINED_BYTES`].
async fn send(mut stream: TcpStream, response: &[u8]) -> std::io::Result<()> {
    stream.write_all(response).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_DRAINED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}
