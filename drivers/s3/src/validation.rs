//! Validates names and addresses: buckets, prefixes, regions, endpoints.
//!
//! This module must never send a request.

use artifact_store_core::StoreError;
use artifact_store_object_support::AddressRule;

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
    artifact_store_object_support::check_prefix(prefix, MAX_PREFIX_BYTES)
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
    // The bucket and the prefix are options of their own.
    let example = "https://s3.example.com or http://127.0.0.1:3900, without a bucket and a prefix";
    let rule = AddressRule { example, path: None, allow_http };
    rule.check(endpoint).map_err(|error| error.for_option(option))
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
