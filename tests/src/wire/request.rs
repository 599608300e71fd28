//! Requests, built by hand.

use std::fmt;
use std::net::SocketAddr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::connection::{Connection, Incoming};
use super::response::Response;
use super::server::Server;
use super::tokens::Who;

/// `text` as part of a path or a query.
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

/// An upload of bytes; `query` with its question mark, or empty.
pub fn put(query: &str, bytes: impl Into<Vec<u8>>) -> Request {
    Request::new("PUT", format!("/v1/artifacts{query}")).body(bytes)
}

impl Request {
    /// A request without headers and body.
    pub fn new(verb: &str, target: impl Into<String>) -> Self {
        Self { verb: verb.into(), target: target.into(), headers: Vec::new(), body: None, chunked: false }
    }

    /// GET.
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a bearer token.
    #[must_use]
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("Authorization", format!("Bearer {}", token.as_ref()))
    }

    /// With a token of this identity.
    #[must_use]
    pub fn by(self, who: &Who) -> Self {
        self.bearer(who.token())
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// With the body in chunks instead of its length in the head.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// The head as it goes out, with `length` in place of the body's own where given.
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

    /// Head and body as they go out where nothing is chunked.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(None);
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    fn to_head(&self) -> bool {
        self.verb == "HEAD"
    }

    /// Writes it all, whatever the server makes of it meanwhile.
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

    /// Sends it on a connection of its own.
    pub fn send(&self, server: &Server) -> Response {
        self.send_to(server.addr())
    }

    /// The same to an address.
    pub fn send_to(&self, addr: SocketAddr) -> Response {
        self.send_on(Connection::open(addr)).0
    }

    /// Sends it on this connection, which is given back.
    pub fn send_on(&self, mut connection: Connection) -> (Response, Connection) {
        self.write(&mut connection);
        connection.response(self.to_head())
    }

    /// Sends it and reads no more than the head of the response.
    pub fn begin(&self, addr: SocketAddr) -> Incoming {
        let mut connection = Connection::open(addr);
        self.write(&mut connection);
        connection.head(self.to_head()).unwrap_or_else(|| panic!("the connection ended without a response"))
    }

    /// The same where the server may be gone: `None`.
    pub fn try_send(&self, addr: SocketAddr) -> Option<Response> {
        let mut connection = Connection::try_open(addr).ok()?;
        self.write(&mut connection);
        Some(connection.maybe_response(self.to_head())?.0)
    }
}
