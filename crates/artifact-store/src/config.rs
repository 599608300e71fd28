//! The configuration of a store: [`Config`], built in code, read from a file or parsed from a URL.
//!
//! This module must never know which drivers exist.

use std::collections::BTreeMap;
use std::fmt;

use artifact_store_core::{StoreError, VerifyReads, parse_size};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The driver and options of a store to open.
///
/// A `Config` can be deserialized from any `serde` format; unknown keys are errors. For the URL form, see
/// [`FromStr`](#impl-FromStr-for-Config).
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
/// let in_code = Config::new("sqlite")
///     .option("path", "a.db")
///     .option("synchronous", "normal")
///     .max_artifact_bytes(4 << 20);
/// assert_eq!(in_code, from_file);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The driver's name.
    pub driver: String,
    /// The driver's own options, by name. [`DriverInfo::options`](crate::DriverInfo::options) lists the options that
    /// the driver has.
    #[serde(default)]
    pub options: OptionValues,
    /// Whether a read checks its bytes against the hash in the record (`always` or `never`): a whole artifact always, and a
    /// range if the driver stores a BLAKE3 tree. A read
    /// from a driver whose bytes cannot change, such as `inmem`, never checks them.
    #[serde(default, deserialize_with = "deserialize_verify_reads")]
    pub verify_reads: VerifyReads,
    /// The secret with which cursors are signed: at least 16 bytes. Processes with the same secret accept each other's
    /// cursors. If no secret is set, cursors are valid only until the process ends.
    #[serde(default)]
    pub cursor_secret: Option<Secret>,
    /// The largest artifact in bytes. The driver's own limit applies too; `None` means that only the driver's limit
    /// applies. In a file, the value is a number or a text such as `4MiB`.
    #[serde(default, deserialize_with = "deserialize_size")]
    pub max_artifact_bytes: Option<u64>,
}

impl Config {
    /// A configuration of the driver called `driver` with default options.
    pub fn new(driver: impl Into<String>) -> Self {
        Self {
            driver: driver.into(),
            options: OptionValues::default(),
            verify_reads: VerifyReads::Always,
            cursor_secret: None,
            max_artifact_bytes: None,
        }
    }

    /// Sets an option of the driver. A text is parsed as in a URL (`"64KiB"`, `"5s"`, `"true"`).
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.0.insert(name.into(), value.into());
        self
    }

    /// Sets whether a read checks its bytes against the hash in the record.
    #[must_use]
    pub fn verify_reads(mut self, verify_reads: VerifyReads) -> Self {
        self.verify_reads = verify_reads;
        self
    }

    /// Sets the secret with which cursors are signed: at least 16 bytes.
    #[must_use]
    pub fn cursor_secret(mut self, secret: Secret) -> Self {
        self.cursor_secret = Some(secret);
        self
    }

    /// Sets the size of the largest artifact, in bytes.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = Some(bytes);
        self
    }

    /// Parses `value`, as it is written in a URL, and sets the key `name` of the configuration. Returns an error if the
    /// value is invalid, or if the configuration has no key `name`.
    pub(crate) fn set_key(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        match name {
            "verify_reads" => self.verify_reads = parse_verify_reads(value)?,
            "cursor_secret" => self.cursor_secret = Some(Secret::new(value)),
            "max_artifact_bytes" => self.max_artifact_bytes = Some(parse_max_artifact_bytes(value)?),
            _ => return Err(StoreError::invalid(format!("a store's configuration has no key '{name}'"))),
        }
        Ok(())
    }
}

/// A driver's options before they are parsed. Debug output does not show values, because some of them are secrets.
#[derive(Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub struct OptionValues(pub(crate) BTreeMap<String, Value>);

impl fmt::Debug for OptionValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A text that debug output does not show.
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

fn parse_verify_reads(text: &str) -> Result<VerifyReads, StoreError> {
    match text {
        "always" => Ok(VerifyReads::Always),
        "never" => Ok(VerifyReads::Never),
        _ => Err(StoreError::invalid("verify_reads is not legal; it takes one of always, never")),
    }
}

fn parse_max_artifact_bytes(text: &str) -> Result<u64, StoreError> {
    parse_size(text).ok_or_else(|| {
        StoreError::invalid(
            "max_artifact_bytes is not legal; it takes a size in bytes such as 4096, 64KiB or 4MiB",
        )
    })
}

fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Option::<Size>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
        Some(Size::Text(text)) => parse_max_artifact_bytes(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

fn deserialize_verify_reads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VerifyReads, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_verify_reads(&text).map_err(serde::de::Error::custom)
}
