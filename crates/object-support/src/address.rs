//! Validates where a store is: the address of a storage ([`AddressRule`]), and the prefix of its keys
//! ([`check_prefix`]).
//!
//! Plain http is allowed only to the same machine, unless the operator allows it: anybody between can read and alter the
//! bytes. This rule is written here alone. This module must never send a request.

use std::fmt;
use std::net::IpAddr;

use artifact_store_core::StoreError;

/// Which addresses of a storage are legal: an http or https URL of a host, with or without a port, and with or without
/// one slash at its end.
///
/// # Examples
/// ```
/// use artifact_store_object_support::AddressRule;
///
/// let rule = AddressRule { example: "https://s3.example.com", path: None, allow_http: false };
/// assert!(rule.check("https://10.0.0.1:9000").is_ok());
/// assert!(rule.check("http://127.0.0.1:9000").is_ok());
/// let error = rule.check("http://10.0.0.1:9000").unwrap_err().for_option("endpoint");
/// assert!(error.to_string().starts_with("the option 'endpoint' is plain http to another machine"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct AddressRule<'a> {
    /// A legal address, for the message.
    pub example: &'a str,
    /// The only path that the address may have, without its slash; `None` if it has no path.
    pub path: Option<&'a str>,
    /// Whether plain http to another machine is allowed.
    pub allow_http: bool,
}

impl AddressRule<'_> {
    /// Refuses text that is not a legal address.
    ///
    /// # Errors
    /// An [`AddressError`], which does not repeat `address`, because it may contain a secret.
    pub fn check(&self, address: &str) -> Result<(), AddressError> {
        let invalid = |what: &str| {
            let what = format!("{what}; it takes an address such as {}", self.example);
            Err(AddressError { what, is_plain_http: false })
        };
        let (is_plain_http, address) = if let Some(address) = address.strip_prefix("https://") {
            (false, address)
        } else if let Some(address) = address.strip_prefix("http://") {
            (true, address)
        } else {
            return invalid("is not an http or https URL");
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let (authority, path) = match address.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (address, None),
        };
        if authority.contains('@') {
            return invalid("contains a user name or password, which is not allowed");
        }
        if path.is_some() && path != self.path || authority.contains(['?', '#']) {
            return invalid("has a path, a query or a fragment that is not allowed");
        }
        let Some(host) = host_of(authority) else { return invalid("has no valid host and port") };
        if is_plain_http && !self.allow_http && !is_loopback(host) {
            let what = "is plain http to another machine, so anybody between can read and alter the bytes; use https, or \
                        allow http if you control the network";
            return Err(AddressError { what: what.to_owned(), is_plain_http: true });
        }
        Ok(())
    }
}

/// Why an address is not legal. Its text is the end of a sentence about the address, and does not repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    what: String,
    is_plain_http: bool,
}

impl AddressError {
    /// The error for an address in the option `option`: `InvalidArgument`. It also names the option `allow_http` if the
    /// address is refused because it is plain http.
    pub fn for_option(self, option: &'static str) -> StoreError {
        let error = StoreError::invalid_option(option, self.what);
        if self.is_plain_http { error.with_option("allow_http") } else { error }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for AddressError {}

/// The host of `host` or `host:port`, without the brackets of an IPv6 address; `None` if the host or the port is not
/// valid.
fn host_of(authority: &str) -> Option<&str> {
    // Only the validity of the port matters here, so a missing port is replaced by a valid one.
    let missing_port = "80";
    let (host, port) = match authority.strip_prefix('[') {
        Some(ip_and_port) => {
            let (host, after_bracket) = ip_and_port.split_once(']')?;
            host.parse::<IpAddr>().ok()?;
            let port =
                if after_bracket.is_empty() { missing_port } else { after_bracket.strip_prefix(':')? };
            (host, port)
        }
        None => authority.split_once(':').unwrap_or((authority, missing_port)),
    };
    // Only an IPv6 address can contain a colon here.
    let is_valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    (!host.is_empty() && host.bytes().all(is_valid) && port.parse::<u16>().is_ok()).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Refuses a prefix of keys that has more than `max_bytes` bytes, that contains a byte that a URL would escape, or that
/// has an empty name, `.` or `..` between its slashes. The prefix may be empty, and may end with one slash.
///
/// # Errors
/// `InvalidArgument`, which names the option `prefix`.
pub fn check_prefix(prefix: &str, max_bytes: usize) -> Result<(), StoreError> {
    if prefix.len() > max_bytes {
        return Err(StoreError::invalid_option("prefix", format!("takes at most {max_bytes} bytes")));
    }
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    let names = prefix.strip_suffix('/').unwrap_or(prefix);
    let has_valid_names = prefix.is_empty() || names.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if prefix.bytes().all(is_safe) && has_valid_names {
        return Ok(());
    }
    Err(StoreError::invalid_option(
        "prefix",
        "takes letters, digits, '-', '_', '.' and single slashes between names, such as team/artifacts",
    ))
}

#[cfg(test)]
mod tests {
    use artifact_store_core::ErrorKind;

    use super::*;

    const RULE: AddressRule<'_> = AddressRule { example: "https://host", path: None, allow_http: false };

    #[test]
    fn addresses_are_distinguished_from_other_text() {
        for good in [
            "https://s3.example.com",
            "https://10.0.0.1:9000",
            "http://127.0.0.1:3900/",
            "http://127.1.2.3",
            "http://[::1]:9000",
            "http://localhost:1",
            "http://LOCALHOST",
        ] {
            assert_eq!(RULE.check(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("127.0.0.1:3900", "is not an http or https URL"),
            ("ftp://host", "is not an http or https URL"),
            ("https://", "has no valid host and port"),
            ("https://host:70000", "has no valid host and port"),
            ("https://[host]:1", "has no valid host and port"),
            ("https://host/path", "has a path, a query or a fragment"),
            ("https://host//", "has a path, a query or a fragment"),
            ("https://host?a=hunter2", "has a path, a query or a fragment"),
            ("https://host#a", "has a path, a query or a fragment"),
            ("https://user:hunter2@host", "contains a user name or password"),
            ("http://10.0.0.1:9000", "is plain http to another machine"),
            ("http://localhost.example.com", "is plain http to another machine"),
            ("http://127.0.0.1.example.com", "is plain http to another machine"),
            ("http://[::2]", "is plain http to another machine"),
        ] {
            let error = RULE.check(bad).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains("hunter2"), "{bad}: {error}");
        }
        let rule = AddressRule { path: Some("account"), allow_http: true, ..RULE };
        for good in ["http://10.0.0.1:10000/account/", "https://account.example.com"] {
            assert_eq!(rule.check(good), Ok(()), "{good}");
        }
        assert!(rule.check("http://10.0.0.1:10000/other").is_err());
    }

    #[test]
    fn the_error_of_an_option_names_it_and_what_would_allow_plain_http() {
        let error = RULE.check("https://").unwrap_err().for_option("endpoint");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            error.to_string(),
            "the option 'endpoint' has no valid host and port; it takes an address such as https://host"
        );
        let error = RULE.check("http://10.0.0.1").unwrap_err().for_option("endpoint").to_string();
        assert!(error.contains("'endpoint'") && error.contains("'allow_http'"), "{error}");
    }

    #[test]
    fn prefixes_are_plain_names_between_single_slashes() {
        for good in ["", "a", "a/b", "team-1/artifacts_2/", &"x".repeat(256)] {
            assert!(check_prefix(good, 256).is_ok(), "{good}");
        }
        for bad in ["/a", "a//b", "a/../b", "a b", "ä", "a/./b", "a//", "/", &"x".repeat(257)] {
            assert!(check_prefix(bad, 256).is_err(), "{bad}");
        }
    }
}
