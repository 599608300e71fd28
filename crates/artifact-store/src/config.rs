//! What to open: [`Config`], as a program builds it, a configuration file holds it or a URL says it.
//!
//! This module must never know which drivers there are.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use artifact_store_core::{StoreError, VerifyReads, parse_size};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Which store to open, and how.
///
/// Deserialises from any format of `serde`; unknown keys are errors. As a URL, see [`FromStr`](#impl-FromStr-for-Config).
///
/// # Examples
/// ```
/// use artifact_store::Config;
///
/// let from_file: Config = serde_json::from_str(
///     r#"{"driver": "sqlite", "options": {"path": "a.db", "synchronous": "normal"}, "max_artifact_bytes": 4194304}"#,
/// )?;
/// let from_url: Config = "sqlite:a.db?synchronous=normal&max_artifact_bytes=4MiB".parse()?;
/// assert_eq!(from_url.driver, from_file.driver);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The driver's name.
    pub driver: String,
    /// The driver's own options, by name; each driver's table says which there are.
    #[serde(default)]
    pub options: OptionValues,
    /// Whether whole reads are compared with their SHA-256 (`always` or `never`). A store in memory is exempt.
    #[serde(default, deserialize_with = "verify_reads")]
    pub verify_reads: VerifyReads,
    /// A secret of at least 16 bytes that processes share to accept each other's cursors; unset: cursors end with the
    /// process.
    #[serde(default)]
    pub cursor_secret: Option<Secret>,
    /// The largest artifact in bytes, below or at what the driver takes; unset: the driver's own bound. In a file, a number or
    /// a text such as `4MiB`.
    #[serde(default, deserialize_with = "size")]
    pub max_artifact_bytes: Option<u64>,
}

impl Config {
    /// The driver called `driver` with its options as they are by default.
    pub fn new(driver: impl Into<String>) -> Self {
        Self {
            driver: driver.into(),
            options: OptionValues::default(),
            verify_reads: VerifyReads::Always,
            cursor_secret: None,
            max_artifact_bytes: None,
        }
    }

    /// The same with a driver's option set. A text is taken as a URL would carry it (`"64KiB"`, `"5s"`, `"true"`).
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.0.insert(name.into(), value.into());
        self
    }

    /// Sets one of the configuration's own keys from a text, as URLs carry it.
    pub(crate) fn set_own(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        match name {
            "verify_reads" => self.verify_reads = parse_verify_reads(value)?,
            "cursor_secret" => self.cursor_secret = Some(Secret::new(value)),
            "max_artifact_bytes" => self.max_artifact_bytes = Some(parse_own_size(value)?),
            _ => return Err(StoreError::invalid(format!("a store's configuration has no key '{name}'"))),
        }
        Ok(())
    }
}

/// A driver's options before they are checked. Values do not show in debug output, because some are secrets.
#[derive(Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub struct OptionValues(pub(crate) BTreeMap<String, Value>);

impl fmt::Debug for OptionValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A text that never shows in debug output.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret's text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Reads `always` or `never`.
fn parse_verify_reads(text: &str) -> Result<VerifyReads, StoreError> {
    match text {
        "always" => Ok(VerifyReads::Always),
        "never" => Ok(VerifyReads::Never),
        _ => Err(StoreError::invalid("verify_reads is not legal; it takes one of always, never")),
    }
}

fn parse_own_size(text: &str) -> Result<u64, StoreError> {
    parse_size(text).ok_or_else(|| {
        StoreError::invalid(
            "max_artifact_bytes is not legal; it takes a size in bytes such as 4096, 64KiB or 4MiB",
        )
    })
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Option::<Size>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
        Some(Size::Text(text)) => parse_own_size(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

fn verify_reads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VerifyReads, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_verify_reads(&text).map_err(serde::de::Error::custom)
}

/// `driver:path?option=value&…`, or `driver://…?option=value&…`.
///
/// - `inmem:`, `fs:/var/lib/artifacts`, `fs:relative/folder`, `sqlite:artifacts.db`, `sqlite::memory:`.
/// - An absolute path may stand behind an empty authority (`fs:///var/lib/artifacts`); a host is refused.
/// - `s3://bucket/prefix?region=eu-central-1`: the host is the bucket, the path is the prefix.
/// - `postgres://user:password@host/name?sslmode=require&schema=files`: the URL goes to the database's client as it was
///   written, escapes included, without the parameters that are options of the driver or the [`Config`]'s own.
/// - Everywhere else path and values are percent-decoded; a `?` in a path is written `%3F`.
/// - `verify_reads`, `cursor_secret` and `max_artifact_bytes` are the [`Config`]'s own; every other name is an option of
///   the driver.
///
/// What the parts and options mean is known, and checked, when the store is opened.
impl FromStr for Config {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        crate::url::parse(url)
    }
}
