//! Responses, and the assertions of tests about them.

use std::fmt;

use serde_json::Value;

use super::envelope;

/// A response as it was received.
#[derive(Clone, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers in order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub complete: bool,
    /// Whether a status 100 came before it.
    pub continued: bool,
    /// Whether it is the response to HEAD.
    pub is_head: bool,
}

impl Response {
    /// The only value of a header, or `None` if it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.header_values(name);
        assert!(all.len() < 2, "the header {name} is repeated: {self:?}");
        all.first().copied()
    }

    /// Every value of a header.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(is, _)| is == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("not a refusal: {self:?}")).to_owned()
    }

    /// The message of a refusal.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_else(|| panic!("not a refusal: {self:?}")).to_owned()
    }

    /// Asserts the status and returns the body as JSON.
    #[track_caller]
    pub fn expect_json(&self, status: u16) -> Value {
        assert!(self.status == status && self.complete, "expected {status}: {self:?}");
        self.json()
    }

    /// Asserts that the request was refused with this code, and returns the message.
    #[track_caller]
    pub fn expect_refusal(&self, code: &str) -> String {
        assert!(self.status >= 400, "expected a refusal with {code}: {self:?}");
        assert_eq!(self.code(), code, "{self:?}");
        self.message()
    }

    /// Asserts that a download has exactly these bytes.
    #[track_caller]
    pub fn expect_bytes(&self, bytes: &[u8]) {
        assert!(self.status == 200 && self.complete && self.body == bytes, "expected other bytes: {self:?}");
    }

    /// Everything except what differs between two equal requests: the date and the request id.
    pub fn without_volatile_headers(&self) -> (u16, Vec<(String, String)>, String) {
        let headers = self.headers.iter().filter(|(name, _)| name != "date" && name != envelope::REQUEST_ID);
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
