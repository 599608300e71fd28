//! The object `FORMAT` and its JSON. A prefix with this object is a store.
//!
//! Format 1 keeps records in clear text and has no index. Format 2 encrypts records and says whether the store has an
//! index. A store keeps the format that it was created with. This module must never send a request.

use artifact_store_core::{Digest, StoreError, Timestamp};
use serde_json::{Value, json};

use crate::config::{ConditionalCreate, ListingIndex, NAME, S3Config};
use crate::encryption::RecordKey;
use crate::features::{ConditionalRequests, FeatureSource, KnownFeatures, StorageFeatures, Versioning};
use crate::layout::FORMAT_VERSION;
use crate::record::MetadataLimit;

/// How artifacts are stored. Fixed when the store is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreFormat {
    /// The key that encrypts new records; `None` in format 1.
    pub(crate) record_key: Option<RecordKey>,
    /// Whether the store has index keys, which are ordered by time.
    pub(crate) indexed: bool,
}

impl StoreFormat {
    /// Format 1.
    pub(crate) const fn version_1() -> Self {
        Self { record_key: None, indexed: false }
    }

    /// The format of a new store.
    ///
    /// # Errors
    /// `Backend` if the system has no randomness.
    pub(crate) fn new(config: &S3Config) -> Result<Self, StoreError> {
        Ok(Self {
            record_key: Some(RecordKey::random()?),
            indexed: config.listing_index == ListingIndex::Time,
        })
    }
}

/// The result of opening `FORMAT`.
#[derive(Debug)]
pub(crate) struct OpenedFormat {
    pub(crate) known: KnownFeatures,
    pub(crate) format: StoreFormat,
}

/// The content of the object `FORMAT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormatObject {
    pub(crate) format: StoreFormat,
    /// The [`fingerprint`] of the storage's address.
    pub(crate) address_fingerprint: String,
    /// What the storage honours; `None` if it was not probed, or if an older build recorded it without all fields.
    pub(crate) features: Option<StorageFeatures>,
    /// When the storage was probed; `None` if it was not probed.
    pub(crate) probed_at: Option<Timestamp>,
    pub(crate) versioning: Versioning,
    /// The bucket's default retention; `None` if none is known.
    pub(crate) retention: Option<String>,
}

impl FormatObject {
    /// The object that records `format` and `known`.
    pub(crate) fn new(format: StoreFormat, config: &S3Config, known: &KnownFeatures) -> Self {
        let probed = matches!(known.source, FeatureSource::Probed | FeatureSource::Recorded);
        Self {
            format,
            address_fingerprint: fingerprint(config),
            features: probed.then_some(known.features),
            probed_at: known.probed_at,
            versioning: known.versioning,
            retention: known.retention.clone(),
        }
    }

    /// The object's bytes.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let features = self.features;
        let conditions = features.map(|features| features.conditions);
        let mut value = json!({
            // Only stores of format 2 have an encryption key.
            "format": if self.format.record_key.is_some() { FORMAT_VERSION } else { 1 },
            "driver": NAME,
            "endpoint": self.address_fingerprint,
            // Of the four `conditional_*` fields, older builds read only this one. They take `true` to mean that put,
            // complete and copy all honour `If-None-Match`.
            "conditional_create": conditions.map(|conditions| conditions == ConditionalRequests::ALL),
            "conditional_put": conditions.map(|conditions| conditions.put),
            "conditional_complete": conditions.map(|conditions| conditions.complete),
            "conditional_copy": conditions.map(|conditions| conditions.copy),
            "checksum_on_put": features.and_then(|features| features.checksum_on_put),
            "checksum_on_part": features.and_then(|features| features.checksum_on_part),
            "metadata": features.map(|features| features.metadata_limit.as_str()),
            "probed_at": self.probed_at.map(Timestamp::as_micros),
            "versioning": self.versioning.as_str(),
            "retention": self.retention,
        });
        if let Some(record_key) = &self.format.record_key {
            // The field `seal` contains the key that encrypts records.
            value["seal"] = record_key.to_text().into();
            value["listing_index"] = if self.format.indexed { "time" } else { "none" }.into();
        }
        value.to_string().into_bytes()
    }

    /// Parses what [`to_json`](Self::to_json) or an older build wrote. `key` is the object's key, for the message.
    ///
    /// # Errors
    /// `Corrupt` if the encryption key is unreadable; `InvalidArgument` if another program or a newer build wrote the
    /// object.
    pub(crate) fn parse(key: &str, json: &[u8]) -> Result<Self, StoreError> {
        // Invalid JSON becomes `Null`, which has no field `driver`.
        let value: Value = serde_json::from_slice(json).unwrap_or_default();
        if value["driver"] != NAME || !value["format"].is_u64() {
            return Err(StoreError::invalid(format!(
                "the object {key} was not written by this driver: something else uses this prefix; choose another one"
            )));
        }
        let format = match value["format"].as_u64() {
            Some(1) => StoreFormat::version_1(),
            Some(FORMAT_VERSION) => {
                let record_key = value["seal"].as_str().and_then(RecordKey::parse).ok_or_else(|| {
                    StoreError::corrupt(format!("{key}: the encryption key of records is unreadable"))
                })?;
                StoreFormat { record_key: Some(record_key), indexed: value["listing_index"] == "time" }
            }
            _ => {
                return Err(StoreError::invalid(format!(
                    "the store has format {}; this build reads formats 1 and {FORMAT_VERSION}: use the build that created it, or \
                     a newer one",
                    value["format"]
                )));
            }
        };
        Ok(Self {
            format,
            address_fingerprint: value["endpoint"].as_str().unwrap_or_default().to_owned(),
            features: parse_features(&value),
            probed_at: value["probed_at"].as_i64().map(Timestamp::from_micros),
            versioning: Versioning::parse(value["versioning"].as_str().unwrap_or_default()),
            retention: value["retention"].as_str().map(str::to_owned),
        })
    }

    /// The recorded features, whatever their age; `None` if the object records no features, or those of another
    /// address.
    pub(crate) fn known_features(&self, config: &S3Config) -> Option<KnownFeatures> {
        if self.address_fingerprint != fingerprint(config) {
            return None;
        }
        Some(KnownFeatures {
            features: self.features?,
            source: FeatureSource::Recorded,
            probed_at: self.probed_at,
            versioning: self.versioning,
            retention: self.retention.clone(),
        })
    }
}

/// The recorded features; `None` if a required field is missing, as in objects of older builds.
fn parse_features(value: &Value) -> Option<StorageFeatures> {
    Some(StorageFeatures {
        conditions: ConditionalRequests {
            put: value["conditional_put"].as_bool()?,
            complete: value["conditional_complete"].as_bool()?,
            copy: value["conditional_copy"].as_bool()?,
        },
        checksum_on_put: value["checksum_on_put"].as_bool(),
        checksum_on_part: value["checksum_on_part"].as_bool(),
        metadata_limit: MetadataLimit::parse(value["metadata"].as_str()?)?,
    })
}

/// The first 64 bits of a hash of endpoint and region, in hex. They identify a storage, but do not reveal its address.
fn fingerprint(config: &S3Config) -> String {
    let address = format!(
        "{}\0{}",
        config.endpoint.as_deref().unwrap_or_default().trim_end_matches('/'),
        config.region
    );
    Digest::of(address.as_bytes()).to_hex()[..16].to_owned()
}

/// The features that the option `conditional_create` sets; `None` if the storage is to be probed.
pub(crate) fn configured_features(config: &S3Config) -> Option<StorageFeatures> {
    let conditions = match config.conditional_create {
        ConditionalCreate::Yes => ConditionalRequests::ALL,
        ConditionalCreate::Put => ConditionalRequests { put: true, ..ConditionalRequests::NONE },
        ConditionalCreate::No => ConditionalRequests::NONE,
        ConditionalCreate::Probe => return None,
    };
    Some(StorageFeatures { conditions, ..StorageFeatures::minimal() })
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{ErrorKind, Timestamp};

    use super::{FormatObject, StoreFormat};
    use crate::config::S3Config;
    use crate::features::{ConditionalRequests, FeatureSource, KnownFeatures, StorageFeatures, Versioning};

    fn known() -> KnownFeatures {
        KnownFeatures {
            features: StorageFeatures {
                conditions: ConditionalRequests { put: true, complete: false, copy: false },
                checksum_on_put: Some(true),
                checksum_on_part: Some(false),
                ..StorageFeatures::minimal()
            },
            source: FeatureSource::Recorded,
            probed_at: Some(Timestamp::from_micros(1_767_323_045_000_006)),
            versioning: Versioning::Enabled,
            retention: Some("GOVERNANCE, 1 day".into()),
        }
    }

    #[test]
    fn both_formats_read_back_and_others_are_refused() {
        let config = S3Config::bucket("artifacts");
        for format in [StoreFormat::version_1(), StoreFormat::new(&config).unwrap()] {
            let object = FormatObject::new(format, &config, &known());
            let back = FormatObject::parse("FORMAT", &object.to_json()).unwrap();
            assert_eq!(back, object);
            assert_eq!(back.known_features(&config), Some(known()));
            assert_eq!(back.known_features(&config.clone().region("elsewhere")), None);
        }
        for other in ["", "hello", "{}", r#"{"driver":"s3","format":3}"#, r#"{"driver":"fs","format":1}"#] {
            let error = FormatObject::parse("FORMAT", other.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{other}");
        }
    }

    #[test]
    fn features_that_an_older_build_recorded_are_probed_again() {
        let old = r#"{"format":1,"driver":"s3","endpoint":"e","conditional_create":true,"checksum_on_put":true,"checksum_on_part":true}"#;
        let object = FormatObject::parse("FORMAT", old.as_bytes()).unwrap();
        assert_eq!((object.format, object.features), (StoreFormat::version_1(), None));
    }
}
