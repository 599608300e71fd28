//! A connection of HTTP/1.1 (RFC 9112), read byte by byte so that nothing is smoothed over.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::check;
use super::response::Response;

/// How long the client waits for a server before a test fails.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    Done,
}

/// A response whose body is still to be read.
#[derive(Debug)]
pub struct Incoming {
    connection: Connection,
    framing: Framing,
    /// The response; its body is what has been read of it.
    pub response: Response,
}

impl Connection {
    /// Opens a connection.
    pub fn open(server: SocketAddr) -> Self {
        Self::try_open(server).unwrap_or_else(|error| panic!("{server} takes no connection: {error}"))
    }

    /// Opens a connection where a server may refuse.
    ///
    /// # Errors
    /// Those of the system.
    pub fn try_open(server: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends bytes as they are. False: the server does not take them any more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Another handle to write on while this one reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// How long a read may take from now on.
    pub fn patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).unwrap();
    }

    /// Whether the server ends the connection within `patience`, without sending anything.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        self.patience(patience);
        let silent = self.buffer.is_empty();
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => silent,
            Ok(_) => {
                self.buffer.push(byte[0]);
                false
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Whether something has come that was not read as part of a response yet.
    pub fn has_answer(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Reads more. False: there is no more.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut piece = vec![0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.buffer.extend_from_slice(&piece[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(Some(line));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads a response's head; `None`: the connection ended before it. `to_head`: it answers HEAD.
    pub fn head(mut self, to_head: bool) -> Option<Incoming> {
        let mut response = Response { to_head, ..Response::default() };
        loop {
            let status = self.line().unwrap_or_else(|error| panic!("no response in time: {error}"))?;
            let rest = status.strip_prefix("HTTP/1.1 ").or_else(|| status.strip_prefix("HTTP/1.0 "));
            let word = rest.and_then(|rest| rest.get(..3));
            response.status =
                word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no response: {status:?}"));
            response.headers.clear();
            loop {
                let line = self.line().unwrap_or_else(|error| panic!("a head without an end: {error}"))?;
                let Some((name, value)) = line.split_once(':') else { break };
                response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if response.status >= 200 {
                break;
            }
            response.continued |= response.status == 100;
        }
        let length = response.header("content-length").and_then(|text| text.parse().ok());
        let framing = if to_head || matches!(response.status, 204 | 304) {
            Framing::Done
        } else if response.header("transfer-encoding") == Some("chunked") {
            Framing::Chunked
        } else {
            length.map_or(Framing::UntilClose, Framing::Length)
        };
        response.complete = framing == Framing::Done || framing == Framing::Length(0);
        let framing = if response.complete { Framing::Done } else { framing };
        Some(Incoming { connection: self, framing, response })
    }

    /// Reads a whole response, and holds it to the contract where it is a refusal.
    pub fn response(self, to_head: bool) -> (Response, Self) {
        self.maybe_response(to_head).unwrap_or_else(|| panic!("the connection ended without a response"))
    }

    /// The same; `None`: the connection ended before it.
    pub fn maybe_response(self, to_head: bool) -> Option<(Response, Self)> {
        let mut incoming = self.head(to_head)?;
        while incoming.piece().is_some() {}
        if incoming.response.status >= 400 {
            check::failing(&incoming.response);
        }
        Some((incoming.response, incoming.connection))
    }
}

impl Incoming {
    /// How long a read may take from now on.
    pub fn patience(&self, patience: Duration) {
        self.connection.patience(patience);
    }

    /// The next piece of the body; `None`: it has ended, one way or the other.
    pub fn piece(&mut self) -> Option<Vec<u8>> {
        self.try_piece().unwrap_or_else(|error| panic!("the body stands still: {error}"))
    }

    /// The same where nothing may come for a while.
    ///
    /// # Errors
    /// Nothing came in time.
    pub fn try_piece(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let piece = match self.framing {
            Framing::Done => return Ok(None),
            Framing::UntilClose | Framing::Length(_) => {
                if self.connection.buffer.is_empty() && !self.connection.fill()? {
                    self.response.complete = self.framing == Framing::UntilClose;
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                let have = self.connection.buffer.len();
                let take = if let Framing::Length(left) = self.framing { left.min(have) } else { have };
                if let Framing::Length(left) = &mut self.framing {
                    *left -= take;
                    if *left == 0 {
                        self.framing = Framing::Done;
                        self.response.complete = true;
                    }
                }
                self.connection.buffer.drain(..take).collect::<Vec<_>>()
            }
            Framing::Chunked => match self.chunk()? {
                Some(chunk) if chunk.is_empty() => {
                    self.framing = Framing::Done;
                    self.response.complete = true;
                    return Ok(None);
                }
                Some(chunk) => chunk,
                None => {
                    self.framing = Framing::Done;
                    return Ok(None);
                }
            },
        };
        self.response.body.extend_from_slice(&piece);
        Ok(Some(piece))
    }

    /// A chunk, the last one empty; `None`: the connection ended within.
    fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let connection = &mut self.connection;
        // Nothing is taken from the buffer before the chunk is whole, so that a read that times out loses nothing.
        loop {
            if let Some(end) = connection.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let size = String::from_utf8_lossy(&connection.buffer[..end]).into_owned();
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk: {size:?}"));
                let whole = end + 2 + size + 2;
                if connection.buffer.len() >= whole {
                    let chunk = connection.buffer[end + 2..end + 2 + size].to_vec();
                    connection.buffer.drain(..whole);
                    return Ok(Some(chunk));
                }
            }
            if !connection.fill()? {
                return Ok(None);
            }
        }
    }
}
