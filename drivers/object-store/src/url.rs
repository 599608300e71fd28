//! Validates names and addresses: buckets, containers, accounts, prefixes, endpoints; and builds the URL of an object.
//!
//! This module must never send a request.

use std::net::IpAddr;

use artifact_store_core::StoreError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The longest prefix of a store, in bytes. With a prefix of this length, the driver's longest key still has at most
/// 1024 bytes, the limit of both clouds.
const MAX_PREFIX_BYTES: usize = 256;

/// Everything except the unreserved characters of RFC 3986 is escaped in a name or a value.
pub(crate) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As [`ESCAPED`], but slashes stay. For the key of an object in the path of a URL.
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// A URL path of the object `key` in the bucket or container `parent`.
pub(crate) fn object_path(parent: &str, key: &str) -> String {
    format!("/{}/{}", utf8_percent_encode(parent, ESCAPED), utf8_percent_encode(key, ESCAPED_IN_PATH))
}

/// Refuses text that cannot be a bucket's name at Google. Such text could change the path of a URL.
#[cfg(feature = "gcs")]
pub(crate) fn check_bucket(bucket: &str) -> Result<(), StoreError> {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = (3..=222).contains(&bucket.len())
        && bucket.starts_with(is_edge)
        && bucket.ends_with(is_edge)
        && bucket
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'));
    if valid {
        return Ok(());
    }
    Err(StoreError::invalid_option(
        "bucket",
        "is not a bucket name; it takes 3 to 222 lower-case letters, digits, dots, hyphens and underscores, without a path",
    ))
}

/// Refuses text that cannot be a container's name.
#[cfg(feature = "azure")]
pub(crate) fn check_container(container: &str) -> Result<(), StoreError> {
    let valid = (3..=63).contains(&container.len())
        && !container.starts_with('-')
        && !container.ends_with('-')
        && !container.contains("--")
        && container.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if valid {
        return Ok(());
    }
    Err(StoreError::invalid_option(
        "container",
        "is not a container name; it takes 3 to 63 lower-case letters, digits and single hyphens, without a path",
    ))
}

/// Refuses text that cannot be an account's name. The name is part of the account's default address.
#[cfg(feature = "azure")]
pub(crate) fn check_account(account: &str) -> Result<(), StoreError> {
    let valid = (3..=24).contains(&account.len())
        && account.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if valid {
        return Ok(());
    }
    Err(StoreError::invalid_option(
        "account",
        "is not the name of a storage account; it takes 3 to 24 lower-case letters and digits",
    ))
}

/// Refuses a prefix that is too long, that contains a byte that a URL would escape, or that has an empty name, `.` or
/// `..` between its slashes.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.len() > MAX_PREFIX_BYTES {
        return Err(StoreError::invalid_option("prefix", format!("takes at most {MAX_PREFIX_BYTES} bytes")));
    }
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    // A prefix may end with one slash.
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

/// An address that an option may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointRule<'a> {
    /// The option's name.
    pub(crate) option: &'static str,
    /// An address in the message.
    pub(crate) example: &'static str,
    /// The only path that the address may have, without its slash; `None` if it has no path.
    pub(crate) path: Option<&'a str>,
    /// Whether plain http to another machine is allowed.
    pub(crate) allow_http: bool,
}

/// Refuses text that is not an http or https address. If `rule.allow_http` is `false`, also refuses plain http to
/// another machine.
pub(crate) fn check_endpoint(rule: EndpointRule<'_>, endpoint: &str) -> Result<(), StoreError> {
    // The message does not repeat the value, because it may contain a secret.
    let invalid = |what: &str| {
        Err(StoreError::invalid_option(
            rule.option,
            format!("{what}; it takes an address such as {}", rule.example),
        ))
    };
    let (is_plain_http, address) = if let Some(address) = endpoint.strip_prefix("https://") {
        (false, address)
    } else if let Some(address) = endpoint.strip_prefix("http://") {
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
    if path.is_some() && path != rule.path || authority.contains(['?', '#']) {
        return invalid("has a path, a query or a fragment that is not allowed");
    }
    let Some(host) = host_of(authority) else { return invalid("has no valid host and port") };
    if is_plain_http && !rule.allow_http && !is_loopback(host) {
        return Err(StoreError::invalid_option(
            rule.option,
            "is plain http to another machine, so anybody between can read and alter the bytes; use https, or allow http if \
             you control the network",
        )
        .with_option("allow_http"));
    }
    Ok(())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_path_of_its_parent_and_its_escaped_key() {
        assert_eq!(object_path("bucket", "a/b c&d.~"), "/bucket/a/b%20c%26d.~");
    }

    #[test]
    fn prefixes_are_plain_names_between_single_slashes() {
        for good in ["", "a", "a/b", "team-1/artifacts_2/"] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        for bad in ["/a", "a//b", "a/../b", "a b", "ä", "a/./b", "a//", "/", &"x".repeat(257)] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints_are_distinguished_from_other_text() {
        let rule =
            EndpointRule { option: "endpoint", example: "https://host", path: None, allow_http: false };
        for good in ["https://storage.example.com", "http://127.0.0.1:4443/", "http://[::1]:1"] {
            assert!(check_endpoint(rule, good).is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.1:4443",
            "ftp://host",
            "https://",
            "https://host/path",
            "https://host//",
            "https://host?a=b",
            "https://user:word@host",
            "https://host:70000",
            "http://10.0.0.1:9000",
            "http://localhost.example.com",
        ] {
            assert!(check_endpoint(rule, bad).is_err(), "{bad}");
        }
        let rule = EndpointRule { path: Some("account"), allow_http: true, ..rule };
        for good in ["http://10.0.0.1:10000/account/", "https://account.example.com"] {
            assert!(check_endpoint(rule, good).is_ok(), "{good}");
        }
        assert!(check_endpoint(rule, "http://10.0.0.1:10000/other").is_err());
    }
}
