//! Whether a server answers, by asking it in its own protocol.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Error;

/// One question may take so long.
const ASK: Duration = Duration::from_secs(2);

/// What a server speaks.
#[derive(Debug, Clone)]
pub(crate) enum Protocol {
    Postgres { user: String, database: String },
    Http,
}

impl Protocol {
    /// Asks once.
    pub(crate) async fn ask(&self, address: SocketAddr) -> Result<(), Error> {
        let asked = async {
            match self {
                Protocol::Postgres { user, database } => postgres(address, user, database).await,
                Protocol::Http => http(address).await,
            }
        };
        tokio::time::timeout(ASK, asked).await.map_err(|_| format!("{address} does not answer"))?
    }
}

/// A start-up packet: a server that takes sessions asks for the password, any other says why it does not.
async fn postgres(address: SocketAddr, user: &str, database: &str) -> Result<(), Error> {
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
    Err(format!("PostgreSQL at {address} answers: {}", String::from_utf8_lossy(&message).replace('\0', " "))
        .into())
}

/// Any HTTP answer will do: an S3 server says 403 to who does not sign.
async fn http(address: SocketAddr) -> Result<(), Error> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    if head.starts_with(b"HTTP/1.1") { Ok(()) } else { Err(format!("{address} does not speak HTTP").into()) }
}
