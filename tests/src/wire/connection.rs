//! An HTTP/1.1 connection (RFC 9112), read byte by byte so that no error is hidden.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::envelope;
use super::response::Response;

/// How long the client waits for a server before a test fails.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How the end of a body is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    Done,
}

/// A response whose body is not read yet.
#[derive(Debug)]
pub struct StreamingResponse {
    connection: Connection,
    framing: Framing,
    /// The response. Its body is what has been read so far.
    pub response: Response,
}

impl Connection {
    /// Opens a connection.
    pub fn open(server: SocketAddr) -> Self {
        Self::try_open(server).unwrap_or_else(|error| panic!("cannot connect to {server}: {error}"))
    }

    /// Opens a connection that the server may refuse.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn try_open(server: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends bytes as they are. Returns false if the server does not accept them any more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// A second handle for writing while this one reads.
    pub fn try_clone_stream(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Closes the sending half of the connection.
    pub fn shutdown_write(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sets how long each read may take from now on.
    pub fn set_read_timeout(&self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1)))).unwrap();
    }

    /// Whether the server closes the connection within `timeout` without sending anything.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        self.set_read_timeout(timeout);
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

    /// Whether data has arrived that was not read as part of a response yet.
    pub fn has_unread_data(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Reads more data. Returns false at the end of the connection.
    fn read_more(&mut self) -> std::io::Result<bool> {
        let mut data = vec![0; 64 * 1024];
        match self.stream.read(&mut data) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.buffer.extend_from_slice(&data[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read_line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(Some(line));
            }
            if !self.read_more()? {
                return Ok(None);
            }
        }
    }

    /// Reads the head of a response. Returns `None` if the connection ended before it. `is_head`: the request was
    /// HEAD.
    pub fn read_head(mut self, is_head: bool) -> Option<StreamingResponse> {
        let mut response = Response { is_head, ..Response::default() };
        loop {
            let status = self.read_line().unwrap_or_else(|error| panic!("no response in time: {error}"))?;
            let rest = status.strip_prefix("HTTP/1.1 ").or_else(|| status.strip_prefix("HTTP/1.0 "));
            let word = rest.and_then(|rest| rest.get(..3));
            response.status = word
                .and_then(|word| word.parse().ok())
                .unwrap_or_else(|| panic!("not a status line: {status:?}"));
            response.headers.clear();
            loop {
                let line = self.read_line().unwrap_or_else(|error| panic!("incomplete head: {error}"))?;
                let Some((name, value)) = line.split_once(':') else { break };
                response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if response.status >= 200 {
                break;
            }
            response.continued |= response.status == 100;
        }
        let length = response.header("content-length").and_then(|text| text.parse().ok());
        let framing = if is_head || matches!(response.status, 204 | 304) {
            Framing::Done
        } else if response.header("transfer-encoding") == Some("chunked") {
            Framing::Chunked
        } else {
            length.map_or(Framing::UntilClose, Framing::Length)
        };
        response.complete = framing == Framing::Done || framing == Framing::Length(0);
        let framing = if response.complete { Framing::Done } else { framing };
        Some(StreamingResponse { connection: self, framing, response })
    }

    /// Reads a whole response. If it is a refusal, checks it against the contract.
    pub fn read_response(self, is_head: bool) -> (Response, Self) {
        self.try_read_response(is_head).unwrap_or_else(|| panic!("the connection ended without a response"))
    }

    /// The same, but returns `None` if the connection ended before the response.
    pub fn try_read_response(self, is_head: bool) -> Option<(Response, Self)> {
        let mut incoming = self.read_head(is_head)?;
        while incoming.next_data().is_some() {}
        if incoming.response.status >= 400 {
            envelope::assert_valid_refusal(&incoming.response);
        }
        Some((incoming.response, incoming.connection))
    }
}

impl StreamingResponse {
    /// Sets how long each read may take from now on.
    pub fn set_read_timeout(&self, timeout: Duration) {
        self.connection.set_read_timeout(timeout);
    }

    /// The next data of the body, or `None` if it has ended, complete or not.
    pub fn next_data(&mut self) -> Option<Vec<u8>> {
        self.try_next_data().unwrap_or_else(|error| panic!("the body stalls: {error}"))
    }

    /// The same if no data may arrive for a while.
    ///
    /// # Errors
    /// If no data arrives within the read timeout.
    pub fn try_next_data(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let data = match self.framing {
            Framing::Done => return Ok(None),
            Framing::UntilClose | Framing::Length(_) => {
                if self.connection.buffer.is_empty() && !self.connection.read_more()? {
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
            Framing::Chunked => match self.read_chunk()? {
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
        self.response.body.extend_from_slice(&data);
        Ok(Some(data))
    }

    /// Reads a chunk. The last chunk is empty. Returns `None` if the connection ended inside a chunk.
    fn read_chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let connection = &mut self.connection;
        // Nothing is removed from the buffer before the chunk is complete. So a read that times out loses nothing.
        loop {
            if let Some(end) = connection.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let size = String::from_utf8_lossy(&connection.buffer[..end]).into_owned();
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16)
                    .unwrap_or_else(|_| panic!("invalid chunk size: {size:?}"));
                let whole = end + 2 + size + 2;
                if connection.buffer.len() >= whole {
                    let chunk = connection.buffer[end + 2..end + 2 + size].to_vec();
                    connection.buffer.drain(..whole);
                    return Ok(Some(chunk));
                }
            }
            if !connection.read_more()? {
                return Ok(None);
            }
        }
    }
}
