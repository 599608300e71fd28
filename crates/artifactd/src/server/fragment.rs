//! Which request's target has a fragment: [`Targets`].
//!
//! A fragment never belongs into a request (RFC 9112 §3.2), and the HTTP library drops it without a word. So the bytes of a
//! connection are looked at as they come, the lines of heads alone: the body of a request of known length is passed over, and
//! after a body in chunks, or one whose length is unclear, nothing on the connection is looked at any more. Nothing is changed
//! or held; what is not found is served as the library reads it.

/// What is remembered of a header's line: more than a length takes.
const LONGEST_LINE: usize = 64;

/// The targets of one connection's requests.
#[derive(Debug, Default)]
pub(super) struct Targets {
    place: Place,
    /// How many requests have begun.
    requests: u64,
    /// The first bytes of a header's line, as far as they can matter.
    line: Vec<u8>,
    length: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a request's first line; empty lines may stand here.
    #[default]
    Before,
    /// In a request's first line.
    First,
    /// In a header's line.
    Header,
    /// In a body with so many bytes to come.
    Body(u64),
    /// Nobody knows where the next request begins.
    Lost,
}

impl Targets {
    /// Looks at the next bytes that came. The number of the first request whose target was found to have a fragment.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Option<u64> {
        let mut found = None;
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.place {
                Place::Lost => return found,
                Place::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left - here as u64;
                    self.place = if left == 0 { Place::Before } else { Place::Body(left) };
                    bytes = &bytes[here..];
                    continue;
                }
                Place::Before if matches!(byte, b'\r' | b'\n') => {}
                Place::Before | Place::First => {
                    if self.place == Place::Before {
                        self.place = Place::First;
                        self.requests += 1;
                    }
                    match byte {
                        b'#' => found = found.or(Some(self.requests)),
                        b'\n' => {
                            self.place = Place::Header;
                            self.length = None;
                            self.line.clear();
                        }
                        _ => {}
                    }
                }
                Place::Header => self.header(byte),
            }
            bytes = rest;
        }
        found
    }

    fn header(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            }
            return;
        }
        let is_whole = self.line.len() < LONGEST_LINE;
        let line = self.line.trim_ascii();
        if line.is_empty() {
            self.place = match self.length {
                None | Some(0) => Place::Before,
                Some(length) => Place::Body(length),
            };
            return;
        }
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.place = Place::Lost;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
            let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
            match length.filter(|length| is_whole && self.length.is_none_or(|before| before == *length)) {
                Some(length) => self.length = Some(length),
                None => self.place = Place::Lost,
            }
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found, however the bytes are cut.
    fn found(bytes: &str) -> Option<u64> {
        let whole = Targets::default().look(bytes.as_bytes());
        let mut one_by_one = Targets::default();
        let pieces = bytes.as_bytes().chunks(1).find_map(|piece| one_by_one.look(piece));
        assert_eq!(whole, pieces, "{bytes:?}");
        whole
    }

    #[test]
    fn a_fragment_is_found_in_the_first_line_alone() {
        assert_eq!(found("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), Some(1));
        assert_eq!(found("\r\n\r\nGET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), Some(1));
        assert_eq!(found("GET /a HTTP/1.1\r\nHost: a\r\nX: #\r\n\r\n"), None);
        assert_eq!(found("GET /a%23b HTTP/1.1\nHost: a\n\n"), None);
    }

    #[test]
    fn the_requests_of_a_connection_are_counted_over_bodies_of_known_length() {
        let plain = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        let put = "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length:  6 \r\n\r\nGET /#";
        let fragment = "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(found(&[plain, put, plain].concat()), None);
        assert_eq!(found(&[plain, put, fragment, fragment].concat()), Some(3));
        assert_eq!(found(&["PUT /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", fragment].concat()), Some(2));
    }

    #[test]
    fn bytes_that_may_be_a_bodys_are_not_taken_for_a_line() {
        for lines in [
            "Transfer-Encoding: chunked",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: five",
            "Content-Length: 99999999999999999999",
            "Content-Length:",
            &format!("Content-Length: {}1", "0".repeat(100)),
        ] {
            let body = "PUT /a HTTP/1.1\r\n".to_owned() + lines + "\r\n\r\nGET /# HTTP/1.1\r\n\r\n";
            assert_eq!(found(&body), None, "{lines}");
        }
    }
}
