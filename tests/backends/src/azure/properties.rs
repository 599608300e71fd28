//! The properties of a blob: how headers become properties, and properties become headers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::auth::text;
use super::error::{Failure, bad_request};
use crate::Error;

const METADATA_PREFIX: &str = "x-ms-meta-";
/// The largest metadata of a blob: names and values together.
const MAX_METADATA_BYTES: usize = 8 << 10;
/// The header of a put, and the header of a get that says the same.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("x-ms-blob-content-type", "content-type"),
    ("x-ms-blob-content-encoding", "content-encoding"),
    ("x-ms-blob-content-language", "content-language"),
    ("x-ms-blob-content-disposition", "content-disposition"),
    ("x-ms-blob-cache-control", "cache-control"),
];

/// What is known of a committed blob, beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) name: String,
    pub(super) length: u64,
    /// With its quotes.
    pub(super) etag: String,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) attributes: Attributes,
}

/// What a client says of a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// By the name of the header of a get.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Attributes {
    /// Reads the attributes of a put. `content_type` is whether the request's own `Content-Type` counts, as for Put
    /// Blob.
    pub(super) fn from_request(headers: &HeaderMap, content_type: bool) -> Result<Self, Failure> {
        let mut attributes = Self::default();
        for (put, get) in ATTRIBUTES {
            let plain = (content_type && get == "content-type").then(|| text(headers, get)).flatten();
            if let Some(value) = text(headers, put).or(plain) {
                attributes.headers.insert(get.to_owned(), value.to_owned());
            }
        }
        let mut bytes = 0;
        for name in headers.keys().map(HeaderName::as_str) {
            let Some(key) = name.strip_prefix(METADATA_PREFIX) else { continue };
            if !is_identifier(key) {
                return Err(bad_request("InvalidMetadata", format!("{key} is not a C# identifier")));
            }
            let Some(value) = text(headers, name) else {
                return Err(bad_request("InvalidMetadata", format!("the value of {key} is not ASCII")));
            };
            bytes += key.len() + value.len();
            attributes.metadata.insert(key.to_owned(), value.to_owned());
        }
        if bytes > MAX_METADATA_BYTES {
            return Err(bad_request("MetadataTooLarge", "the metadata is larger than 8 KiB"));
        }
        Ok(attributes)
    }
}

fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|other| other.is_ascii_alphanumeric() || other == '_')
}

impl Properties {
    /// Adds what a get or a head answers.
    pub(super) fn write_headers(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        self.write_version_headers(headers)?;
        headers.insert("content-type", HeaderValue::from_static("application/octet-stream"));
        for (name, value) in &self.attributes.headers {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::from_str(value)?);
        }
        for (name, value) in &self.attributes.metadata {
            headers.insert(
                HeaderName::try_from(format!("{METADATA_PREFIX}{name}"))?,
                HeaderValue::from_str(value)?,
            );
        }
        headers.insert("accept-ranges", HeaderValue::from_static("bytes"));
        headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
        headers.insert("x-ms-creation-time", HeaderValue::from_str(&http_date(self.created))?);
        Ok(())
    }

    /// Adds what every answer about a blob has.
    pub(super) fn write_version_headers(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        headers.insert("etag", HeaderValue::from_str(&self.etag)?);
        headers.insert("last-modified", HeaderValue::from_str(&http_date(self.modified))?);
        Ok(())
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "length": self.length,
            "etag": self.etag,
            "created": self.created.to_string(),
            "modified": self.modified.to_string(),
            "headers": self.attributes.headers,
            "metadata": self.attributes.metadata,
        })
    }

    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let map = |value: &Value| -> Option<BTreeMap<String, String>> {
            let pairs = value.as_object()?.iter();
            pairs.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        };
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            length: value["length"].as_u64()?,
            etag: value["etag"].as_str()?.to_owned(),
            created: value["created"].as_str()?.parse().ok()?,
            modified: value["modified"].as_str()?.parse().ok()?,
            attributes: Attributes { headers: map(&value["headers"])?, metadata: map(&value["metadata"])? },
        })
    }
}

/// A time as HTTP writes it, in whole seconds.
pub(super) fn http_date(time: Timestamp) -> String {
    httpdate::fmt_http_date(whole_seconds(time))
}

/// A time without its fraction of a second.
pub(super) fn whole_seconds(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default())
}

/// A new entity tag, with quotes.
pub(super) fn new_etag() -> Result<String, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(format!("\"0x{}\"", data_encoding::HEXUPPER.encode(&bytes)))
}
