//! Readiness probes: a request in the server's protocol finds out whether the server is ready.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Error;

/// The time limit of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The protocol of a server.
#[derive(Debug, Clone)]
pub(crate) enum Protocol {
    Postgres { user: String, database: String },
    Http,
}

impl Protocol {
    /// Probes the server once.
    pub(crate) async fn probe(&self, address: SocketAddr) -> Result<(), Error> {
        let probe = async {
            match self {
                Protocol::Postgres { user, database } => probe_postgres(address, user, database).await,
                Protocol::Http => probe_http(address).await,
            }
        };
        tokio::time::timeout(PROBE_TIMEOUT, probe).await.map_err(|_| format!("{address} does not respond"))?
    }
}

/// Sends a startup packet. A server that accepts sessions requests the password; any other server responds with an
/// error.
async fn probe_postgres(address: SocketAddr, user: &str, database: &str) -> Result<(), Error> {
    let mut packet = vec![0, 3, 0, 0];
    for text in ["user", user, "database", database, ""] {
        packet.extend_from_slice(text.as_bytes());
        packet.push(0);
    }
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&u32::try_from(packet.len() + 4)?.to_be_bytes()).await?;
    stream.write_all(&packet).await?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    if head[0] == b'R' {
        return Ok(());
    }
    let mut message = vec![0; 512];
    let length = stream.read(&mut message).await?;
    message.truncate(length);
    Err(format!("PostgreSQL at {address} responds: {}", String::from_utf8_lossy(&message).replace('\0', " "))
        .into())
}

/// Accepts any HTTP response: an S3 server responds to an unsigned request with 403.
async fn probe_http(address: SocketAddr) -> Result<(), Error> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    if head.starts_with(b"HTTP/1.1") { Ok(()) } else { Err(format!("{address} does not speak HTTP").into()) }
}
