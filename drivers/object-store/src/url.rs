//! Validates names and addresses: buckets, containers, accounts, prefixes; and builds the URL of an object.
//!
//! This module must never send a request.

use artifact_store_core::StoreError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::layout::MAX_PREFIX_BYTES;

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
    artifact_store_object_support::check_prefix(prefix, MAX_PREFIX_BYTES)
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
}
