//! Responses, and what tests ask of them.

use std::fmt;

use serde_json::Value;

use super::check;

/// A response as it came.
#[derive(Clone, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub complete: bool,
    /// Whether a 100 came before it.
    pub continued: bool,
    /// Whether it answers HEAD.
    pub to_head: bool,
}

impl Response {
    /// A header's only value; `None` where it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "the header {name} stands more than once: {self:?}");
        all.first().copied()
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(is, _)| is == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no refusal: {self:?}")).to_owned()
    }

    /// The message of a refusal.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_else(|| panic!("no refusal: {self:?}")).to_owned()
    }

    /// The JSON of a response that has to have this status.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert!(self.status == status && self.complete, "not {status}: {self:?}");
        self.json()
    }

    /// The message of a response that has to be refused with this code.
    #[track_caller]
    pub fn refused(&self, code: &str) -> String {
        assert!(self.status >= 400, "not refused with {code}: {self:?}");
        assert_eq!(self.code(), code, "{self:?}");
        self.message()
    }

    /// Holds a download to its bytes.
    #[track_caller]
    pub fn ok_bytes(&self, bytes: &[u8]) {
        assert!(self.status == 200 && self.complete && self.body == bytes, "not the bytes: {self:?}");
    }

    /// Everything but what differs between two equal requests: the date and the request's id.
    pub fn comparable(&self) -> (u16, Vec<(String, String)>, String) {
        let headers = self.headers.iter().filter(|(name, _)| name != "date" && name != check::REQUEST_ID);
        (self.status, headers.cloned().collect(), String::from_utf8_lossy(&self.body).into_owned())
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = &self.body[..self.body.len().min(600)];
        let end = if self.complete { "" } else { " (cut off)" };
        write!(
            f,
            "{} {:?} {} bytes{end}: {}",
            self.status,
            self.headers,
            self.body.len(),
            body.escape_ascii()
        )
    }
}
