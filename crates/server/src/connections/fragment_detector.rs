//! Finds requests whose target has a fragment: [`FragmentDetector`].
//!
//! A fragment is not allowed in a request (RFC 9112 §3.2), but hyper drops it silently. So the detector scans the heads
//! of all requests while the bytes of a connection arrive. If the length of a body is known, the body is skipped. If a
//! body is chunked or its length is unclear, the detector does not scan the rest of the connection.
//!
//! The detector does not change or delay the bytes. If the detector misses a fragment, hyper drops the fragment, and
//! the request is served.

use memchr::memchr;

/// How many bytes of a header line are stored. If a `Content-Length` line has this number of bytes or more, the length
/// of the body is unclear.
const MAX_LINE_BYTES: usize = 64;

/// Scans the requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct FragmentDetector {
    state: ParseState,
    /// Number of requests that have begun.
    requests: u64,
    /// The first bytes of the current header line.
    line: Vec<u8>,
    /// The `Content-Length` of the current request. `None`: no such header has been read.
    length: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ParseState {
    /// Before a request line. Empty lines are allowed here.
    #[default]
    BeforeRequest,
    /// In a request line.
    RequestLine,
    /// In a header line.
    Header,
    /// In a body. The number says how many bytes of the body are still to come.
    Body(u64),
    /// The start of the next request is unknown.
    Unknown,
}

impl FragmentDetector {
    /// Scans the next bytes. If targets in these bytes have a fragment, returns the number of the first such request.
    /// The first request of the connection has the number 1. `None`: no fragment was found.
    pub(crate) fn scan(&mut self, mut bytes: &[u8]) -> Option<u64> {
        let mut found = None;
        while let Some(&byte) = bytes.first() {
            let scanned = match self.state {
                ParseState::Unknown => return found,
                ParseState::Body(length) => {
                    let skipped = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
                    self.state = match length - skipped as u64 {
                        0 => ParseState::BeforeRequest,
                        remaining => ParseState::Body(remaining),
                    };
                    skipped
                }
                ParseState::BeforeRequest => {
                    if matches!(byte, b'\r' | b'\n') {
                        1
                    } else {
                        self.state = ParseState::RequestLine;
                        self.requests += 1;
                        0
                    }
                }
                ParseState::RequestLine => {
                    let end = memchr(b'\n', bytes);
                    let line = &bytes[..end.unwrap_or(bytes.len())];
                    if found.is_none() && memchr(b'#', line).is_some() {
                        found = Some(self.requests);
                    }
                    if end.is_some() {
                        self.state = ParseState::Header;
                        self.length = None;
                        self.line.clear();
                    }
                    line.len() + usize::from(end.is_some())
                }
                ParseState::Header => self.scan_header(bytes),
            };
            bytes = &bytes[scanned..];
        }
        found
    }

    /// Scans the bytes up to the end of the current header line, or all of them. At the end of the line, evaluates the
    /// line. Returns the number of bytes that were scanned.
    fn scan_header(&mut self, bytes: &[u8]) -> usize {
        let end = memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let room = MAX_LINE_BYTES - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        if end.is_some() {
            self.evaluate_line();
            self.line.clear();
        }
        part.len() + usize::from(end.is_some())
    }

    /// Evaluates a whole header line.
    fn evaluate_line(&mut self) {
        let is_complete = self.line.len() < MAX_LINE_BYTES;
        let line = self.line.trim_ascii();
        // An empty line ends the head.
        if line.is_empty() {
            self.state = match self.length {
                None | Some(0) => ParseState::BeforeRequest,
                Some(length) => ParseState::Body(length),
            };
            return;
        }
        let name_length = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        // `value` begins with the colon.
        let (name, value) = line.split_at(name_length);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.state = ParseState::Unknown;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
            let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
            // A request may repeat `Content-Length`, but only with the same value.
            let is_consistent = self.length.is_none() || self.length == length;
            if is_complete && length.is_some() && is_consistent {
                self.length = length;
            } else {
                self.state = ParseState::Unknown;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans the bytes in one call, and then with one call for each byte. Checks that both ways find the same request,
    /// and returns its number.
    fn scan_all(bytes: &str) -> Option<u64> {
        let whole = FragmentDetector::default().scan(bytes.as_bytes());
        let mut one_by_one = FragmentDetector::default();
        let bytewise = bytes.as_bytes().chunks(1).find_map(|byte| one_by_one.scan(byte));
        assert_eq!(whole, bytewise, "{bytes:?}");
        whole
    }

    #[test]
    fn a_fragment_is_found_only_in_a_request_line() {
        assert_eq!(scan_all("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), Some(1));
        assert_eq!(scan_all("\r\n\r\nGET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), Some(1));
        assert_eq!(scan_all("GET /a HTTP/1.1\r\nHost: a\r\nX: #\r\n\r\n"), None);
        assert_eq!(scan_all("GET /a%23b HTTP/1.1\nHost: a\n\n"), None);
    }

    #[test]
    fn bodies_of_known_length_are_skipped_and_the_number_of_the_request_is_returned() {
        let plain = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        // The body of this request looks like a request line with a fragment.
        let put = "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length:  6 \r\n\r\nGET /#";
        let fragment = "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(scan_all(&[plain, put, plain].concat()), None);
        assert_eq!(scan_all(&[plain, put, fragment, fragment].concat()), Some(3));
        assert_eq!(scan_all(&["PUT /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", fragment].concat()), Some(2));
    }

    #[test]
    fn bytes_that_may_belong_to_a_body_are_not_scanned_as_a_line() {
        for lines in [
            "Transfer-Encoding: chunked",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: five",
            "Content-Length: 99999999999999999999",
            "Content-Length:",
            // This line is longer than `MAX_LINE_BYTES`.
            &format!("Content-Length: {}1", "0".repeat(100)),
        ] {
            // The body of this request looks like a request with a fragment.
            let request = format!("PUT /a HTTP/1.1\r\n{lines}\r\n\r\nGET /# HTTP/1.1\r\n\r\n");
            assert_eq!(scan_all(&request), None, "{lines}");
        }
    }
}
