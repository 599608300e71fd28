//! Requests, built by hand.

use std::fmt;
use std::net::SocketAddr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::connection::{Connection, StreamingResponse};
use super::response::Response;
use super::server::Server;
use super::tokens::Identity;

/// Percent-encodes `text` for a path or a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A request.
#[derive(Clone)]
pub struct Request {
    verb: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunked: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body.as_deref().unwrap_or_default();
        let (shown, chunked) = (&body[..body.len().min(300)], if self.chunked { " chunked" } else { "" });
        let Self { verb, target, headers, .. } = self;
        write!(f, "{verb} {target} {headers:?} {} bytes{chunked}: {}", body.len(), shown.escape_ascii())
    }
}

/// A call of a method.
pub fn control(method: &str, body: &Value) -> Request {
    Request::new("POST", format!("/v1/control/{method}"))
        .header("Content-Type", "application/json")
        .body(body.to_string())
}

/// An upload of bytes. `query` starts with its question mark, or is empty.
pub fn put(query: &str, bytes: impl Into<Vec<u8>>) -> Request {
    Request::new("PUT", format!("/v1/artifacts{query}")).body(bytes)
}

impl Request {
    /// A request without headers and body.
    pub fn new(verb: &str, target: impl Into<String>) -> Self {
        Self { verb: verb.into(), target: target.into(), headers: Vec::new(), body: None, chunked: false }
    }

    /// A GET request.
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a bearer token.
    #[must_use]
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("Authorization", format!("Bearer {}", token.as_ref()))
    }

    /// Adds a bearer token of this identity.
    #[must_use]
    pub fn identity(self, identity: &Identity) -> Self {
        self.bearer(identity.token())
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends the body in chunks instead of announcing its length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// The head as it is sent. `length` overrides the announced length of the body.
    pub fn head(&self, length: Option<u64>) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: server\r\n", self.verb, self.target);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let length = length.or_else(|| self.body.as_ref().map(|body| body.len() as u64));
        match length {
            _ if self.chunked => head += "Transfer-Encoding: chunked\r\n",
            Some(length) => head.extend(["Content-Length: ", &length.to_string(), "\r\n"]),
            None => {}
        }
        head += "\r\n";
        head.into_bytes()
    }

    /// Head and body as they are sent without chunked coding.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(None);
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    fn is_head(&self) -> bool {
        self.verb == "HEAD"
    }

    /// Writes head and body, whatever the server responds meanwhile.
    pub fn write(&self, connection: &mut Connection) {
        if !connection.send(&self.head(None)) {
            return;
        }
        let Some(body) = &self.body else { return };
        if self.chunked {
            for piece in body.chunks(64 * 1024) {
                let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                if !connection.send(&chunk) {
                    return;
                }
            }
            connection.send(b"0\r\n\r\n");
        } else {
            connection.send(body);
        }
    }

    /// Sends the request on a connection of its own.
    pub fn send(&self, server: &Server) -> Response {
        self.send_to(server.addr())
    }

    /// The same to an address.
    pub fn send_to(&self, addr: SocketAddr) -> Response {
        self.send_on(Connection::open(addr)).0
    }

    /// Sends the request on this connection and returns the connection.
    pub fn send_on(&self, mut connection: Connection) -> (Response, Connection) {
        self.write(&mut connection);
        connection.read_response(self.is_head())
    }

    /// Sends the request and reads only the head of the response.
    pub fn send_streaming(&self, addr: SocketAddr) -> StreamingResponse {
        let mut connection = Connection::open(addr);
        self.write(&mut connection);
        connection
            .read_head(self.is_head())
            .unwrap_or_else(|| panic!("the connection ended without a response"))
    }

    /// The same if the server may be gone. Returns `None` then.
    pub fn try_send(&self, addr: SocketAddr) -> Option<Response> {
        let mut connection = Connection::try_open(addr).ok()?;
        self.write(&mut connection);
        Some(connection.try_read_response(self.is_head())?.0)
    }
}
