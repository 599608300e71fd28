//! Validates names and addresses: buckets, prefixes, regions, endpoints.
//!
//! This module must never send a request.

use std::net::IpAddr;

use artifact_store_core::StoreError;

/// The longest prefix of a store, in bytes. With a prefix of this length, the driver's longest key still has at most
/// 1024 bytes, the protocol's limit.
const MAX_PREFIX_BYTES: usize = 256;

/// Refuses text that cannot be a bucket's name. In path-style requests, such text could change the path of the URL.
pub(crate) fn check_bucket(bucket: &str) -> Result<(), StoreError> {
    let valid = (3..=255).contains(&bucket.len())
        && bucket.starts_with(|c: char| c.is_ascii_alphanumeric())
        && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if valid {
        return Ok(());
    }
    Err(StoreError::invalid_option(
        "bucket",
        "is not a bucket name; it takes 3 to 255 letters, digits, dots and hyphens, without a path",
    ))
}

/// Refuses a prefix that is too long, that contains a byte that some servers would encode in a key, or that has an
/// empty name, `.` or `..` between its slashes.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.len() > MAX_PREFIX_BYTES {
        return Err(StoreError::invalid_option("prefix", format!("takes at most {MAX_PREFIX_BYTES} bytes")));
    }
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    let has_valid_names = prefix.is_empty()
        || prefix.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | "." | ".."));
    // `trim_end_matches` removes any number of slashes, but a prefix may end with only one.
    if prefix.bytes().all(is_safe) && has_valid_names && !prefix.ends_with("//") {
        return Ok(());
    }
    Err(StoreError::invalid_option(
        "prefix",
        "takes letters, digits, '-', '_', '.' and single slashes between names, such as team/artifacts",
    ))
}

/// Refuses text that cannot be a region's name.
pub(crate) fn check_region(region: &str) -> Result<(), StoreError> {
    let valid = (1..=64).contains(&region.len())
        && region.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if valid {
        return Ok(());
    }
    Err(StoreError::invalid_option("region", "is not a region name; expected one such as us-east-1"))
}

/// Refuses text that is not an http or https address. If `allow_http` is `false`, also refuses plain http to another
/// machine. `option` is the option's name, for the message.
pub(crate) fn check_endpoint(
    option: &'static str,
    endpoint: &str,
    allow_http: bool,
) -> Result<(), StoreError> {
    // The message does not repeat the value, because it may contain a secret.
    let invalid = |what: &str| {
        let example = "it takes an address such as https://s3.example.com or http://127.0.0.1:3900";
        Err(StoreError::invalid_option(option, format!("{what}; {example}")))
    };
    let (is_plain_http, address) = if let Some(address) = endpoint.strip_prefix("https://") {
        (false, address)
    } else if let Some(address) = endpoint.strip_prefix("http://") {
        (true, address)
    } else {
        return invalid("is not an http or https URL");
    };
    let authority = address.strip_suffix('/').unwrap_or(address);
    if authority.contains('@') {
        return invalid("contains a user name or password, which is not allowed");
    }
    if authority.contains(['/', '?', '#']) {
        return invalid("has more than a host and a port; bucket and prefix are separate options");
    }
    let Some(host) = host_of(authority) else { return invalid("has no valid host and port") };
    if is_plain_http && !allow_http && !is_loopback(host) {
        return Err(StoreError::invalid_option(
            option,
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
    use super::{check_bucket, check_endpoint, check_prefix};

    #[test]
    fn endpoints_are_distinguished_from_other_text() {
        let allow_http = false;
        for good in
            ["https://s3.example.com", "http://127.0.0.1:3900/", "http://[::1]:9000", "http://localhost:1"]
        {
            assert!(check_endpoint("endpoint", good, allow_http).is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.1:3900",
            "ftp://host",
            "https://",
            "https://host/bucket",
            "https://user:word@host",
            "https://host:70000",
            "http://10.0.0.1:9000",
            "http://localhost.example.com",
        ] {
            assert!(check_endpoint("endpoint", bad, allow_http).is_err(), "{bad}");
        }
        let allow_http = true;
        assert!(check_endpoint("endpoint", "http://10.0.0.1:9000", allow_http).is_ok());
    }

    #[test]
    fn prefixes_and_buckets_are_plain_names() {
        for good in ["", "a", "a/b", "team-1/artifacts_2/"] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        for bad in ["/a", "a//b", "a/../b", "a b", "ä", "a/./b", "a//", "/", &"x".repeat(257)] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
        assert!(check_bucket("my-bucket.1").is_ok());
        for bad in ["", "ab", "a/b", "-abc", "a b c"] {
            assert!(check_bucket(bad).is_err(), "{bad}");
        }
    }
}
