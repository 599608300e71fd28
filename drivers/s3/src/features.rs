//! What the storage behind a store honours: [`StorageFeatures`], where these features come from, and their description
//! for operators.
//!
//! Servers of this protocol differ, so the driver probes them. This module must never send a request.

use std::time::Duration;

use artifact_store_core::{Clock, StoreFeature, SystemClock, Timestamp};

use crate::config::{MAX_OBJECT_BYTES, MAX_PARTS, S3Config};
use crate::record::MetadataLimit;

/// How old the result of a probe may be before the storage is probed again.
pub(crate) const MAX_AGE: Duration = Duration::from_hours(24);

/// On which requests the storage honours the condition `If-None-Match: *`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConditionalRequests {
    /// `PutObject`.
    pub(crate) put: bool,
    /// `CompleteMultipartUpload`.
    pub(crate) complete: bool,
    /// `CopyObject`.
    pub(crate) copy: bool,
}

impl ConditionalRequests {
    /// The storage honours the condition on every request.
    pub(crate) const ALL: Self = Self { put: true, complete: true, copy: true };
    /// The storage honours the condition on no request.
    pub(crate) const NONE: Self = Self { put: false, complete: false, copy: false };
}

/// What the storage honours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StorageFeatures {
    pub(crate) conditions: ConditionalRequests,
    /// Whether the storage compares the body of a put with its announced SHA-256; `None` if not probed.
    pub(crate) checksum_on_put: Option<bool>,
    /// Whether the storage compares a part of an upload with its announced CRC32C; `None` if not probed.
    pub(crate) checksum_on_part: Option<bool>,
    /// How much user metadata the storage keeps with an object.
    pub(crate) metadata_limit: MetadataLimit,
}

impl StorageFeatures {
    /// The features that are assumed without a probe: no conditions, no checksums of parts, and 2 KiB of user metadata,
    /// as the protocol says.
    pub(crate) const fn minimal() -> Self {
        Self {
            conditions: ConditionalRequests::NONE,
            checksum_on_put: None,
            checksum_on_part: None,
            metadata_limit: MetadataLimit::OneValue,
        }
    }

    /// Whether parts of an upload are sent with a checksum: only if a probe has shown that the storage compares it.
    pub(crate) fn sends_part_checksums(self) -> bool {
        self.checksum_on_part == Some(true)
    }
}

/// Whether the bucket keeps versions of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versioning {
    Off,
    Enabled,
    Suspended,
    /// The request failed, for example because the access key lacks the permission or the storage does not support it.
    Unknown,
}

impl Versioning {
    /// The name in `FORMAT` and for operators.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
            Self::Unknown => "unknown",
        }
    }

    /// The versioning with this name; `Unknown` for any other text.
    pub(crate) fn parse(text: &str) -> Self {
        [Self::Off, Self::Enabled, Self::Suspended]
            .into_iter()
            .find(|versioning| versioning.as_str() == text)
            .unwrap_or(Self::Unknown)
    }
}

/// Where the features come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeatureSource {
    /// Probed when the store was opened, or later.
    Probed,
    /// Read from `FORMAT`, where an earlier opening recorded them.
    Recorded,
    /// The [minimal](StorageFeatures::minimal) features. `FORMAT` records none, and the storage cannot be probed.
    Assumed,
    /// Set by the option `conditional_create`.
    Configured,
}

/// The features, their source, and the settings of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownFeatures {
    pub(crate) features: StorageFeatures,
    pub(crate) source: FeatureSource,
    /// When the storage was probed; `None` if it was not probed or the time is unknown.
    pub(crate) probed_at: Option<Timestamp>,
    pub(crate) versioning: Versioning,
    /// The bucket's default retention, such as `GOVERNANCE, 30 days`; `None` if none is known.
    pub(crate) retention: Option<String>,
}

impl KnownFeatures {
    /// Whether the storage should be probed again. Features that the option `conditional_create` sets are never
    /// outdated.
    pub(crate) fn is_outdated(&self) -> bool {
        self.source != FeatureSource::Configured && is_outdated(self.probed_at)
    }
}

/// Whether a probe at `probed_at` must be repeated. There are three cases: the probe is at least [`MAX_AGE`] old; its
/// time is unknown (`None`); or its time is more than `MAX_AGE` in the future, because a clock was wrong.
pub(crate) fn is_outdated(probed_at: Option<Timestamp>) -> bool {
    let max_age = i64::try_from(MAX_AGE.as_micros()).unwrap_or(i64::MAX);
    probed_at.is_none_or(|then| {
        let age = SystemClock.now().as_micros().saturating_sub(then.as_micros());
        !(-max_age..max_age).contains(&age)
    })
}

/// The features, described for operators. `indexed` says whether the store has index keys, and `encrypted` says whether
/// its records are encrypted.
pub(crate) fn store_features(
    known: &KnownFeatures,
    config: &S3Config,
    indexed: bool,
    encrypted: bool,
) -> Vec<StoreFeature> {
    let StorageFeatures { conditions, checksum_on_put, checksum_on_part, metadata_limit } = known.features;
    let source = match known.source {
        FeatureSource::Probed => "probed just now".to_owned(),
        FeatureSource::Recorded => format!("recorded in FORMAT{}", at_time(known.probed_at)),
        FeatureSource::Assumed => {
            "assumed, because FORMAT records nothing and no probe was possible".to_owned()
        }
        FeatureSource::Configured => "set by the option conditional_create".to_owned(),
    };
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let yes_no_unknown = |value: Option<bool>| value.map_or_else(|| "unknown".to_owned(), yes_no);
    let condition = |name, honoured: bool, request: &str| StoreFeature {
        name,
        value: yes_no(honoured),
        about: format!(
            "Whether {request} honours If-None-Match, also for racing puts; {source}: {}.",
            // Another put may create the artifact with `PutObject`. So the storage must also honour the condition on
            // `PutObject`.
            if honoured && conditions.put {
                "the storage decides which of several racing puts creates, also between processes"
            } else if config.single_writer {
                "a put looks first and then writes; the option single_writer says that no other process writes"
            } else if conditions.put {
                "a put reserves the key first, with a conditional PutObject"
            } else {
                "a put writes a claim beside the key, and lists the claims, before it writes the artifact"
            }
        ),
    };
    let altered_put = match checksum_on_put {
        Some(true) => "a body that was altered on the way is refused",
        Some(false) => "a body that was altered on the way is stored, and detected when it is read",
        None => "not probed",
    };
    let altered_part = match checksum_on_part {
        Some(true) => "a part that was altered on the way is refused",
        Some(false) => "parts are sent without a checksum, and an altered part is detected when it is read",
        None => "not probed, so parts are sent without a checksum",
    };
    let mut features = vec![
        condition("conditional_put", conditions.put, "PutObject"),
        condition("conditional_complete", conditions.complete, "CompleteMultipartUpload"),
        condition("conditional_copy", conditions.copy, "CopyObject"),
        StoreFeature {
            name: "checksum_on_put",
            value: yes_no_unknown(checksum_on_put),
            about: format!("Whether the SHA-256 of a put is compared; {source}: {altered_put}."),
        },
        StoreFeature {
            name: "checksum_on_part",
            value: yes_no_unknown(checksum_on_part),
            about: format!(
                "Whether the CRC32C of a part of an upload is compared; {source}: {altered_part}."
            ),
        },
        StoreFeature {
            name: "metadata",
            value: metadata_limit.as_str().to_owned(),
            about: format!(
                "User metadata that the storage keeps; {source}: {}.",
                metadata_limit.description()
            ),
        },
    ];
    features.extend(bucket_features(known));
    features.extend(unprobed_features(config, indexed, encrypted));
    features
}

/// The bucket's settings and what they mean.
fn bucket_features(known: &KnownFeatures) -> [StoreFeature; 2] {
    [
        StoreFeature {
            name: "versioning",
            value: known.versioning.as_str().to_owned(),
            about: match known.versioning {
                Versioning::Off => "The bucket keeps no old versions: what is deleted is gone.",
                Versioning::Enabled | Versioning::Suspended => {
                    "The bucket keeps old versions: whoever may read versions can read what is deleted, until a lifecycle \
                     rule removes it."
                }
                Versioning::Unknown => {
                    "Unknown: the storage does not answer GetBucketVersioning, or the key lacks s3:GetBucketVersioning."
                }
            }
            .to_owned(),
        },
        StoreFeature {
            name: "retention",
            value: known.retention.clone().unwrap_or_else(|| "none".to_owned()),
            about: match known.retention {
                Some(_) => retention_notice(),
                None => "No default retention of object lock is known.".to_owned(),
            },
        },
    ]
}

/// The features that are never probed: `FORMAT`, the protocol and the options determine them.
fn unprobed_features(config: &S3Config, indexed: bool, encrypted: bool) -> [StoreFeature; 4] {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    [
        StoreFeature {
            name: "listing_index",
            value: if indexed { "time" } else { "none" }.to_owned(),
            about: if indexed {
                "Recorded in FORMAT: each put writes an index key, and a listing of a session reads the newest keys \
                 until its page is full."
            } else {
                "Recorded in FORMAT: a listing reads every record in its scope."
            }
            .to_owned(),
        },
        StoreFeature {
            name: "sealed_records",
            value: yes_no(encrypted),
            about: if encrypted {
                "Recorded in FORMAT: records are encrypted in the objects' metadata, so the holder of a presigned URL cannot \
                 read scope, tags and metadata."
            } else {
                "Recorded in FORMAT by an older version: the holder of a presigned URL can read the record in the object's \
                 metadata."
            }
            .to_owned(),
        },
        StoreFeature {
            name: "multipart",
            value: format!("{MAX_PARTS} parts of {} bytes", config.part_size),
            about: format!(
                "From the protocol and the option part_size: an artifact has at most {} bytes. The protocol allows \
                 {MAX_OBJECT_BYTES} bytes.",
                config.max_size()
            ),
        },
        StoreFeature {
            name: "path_style",
            value: yes_no(config.path_style),
            about: "Set by the option: whether the bucket is in the path of a request and not in its host.".into(),
        },
    ]
}

/// What a default retention means, for operators.
pub(crate) fn retention_notice() -> String {
    "The bucket has object lock with a default retention: a delete hides an object, and its bytes stay until the retention \
     ends; this also holds for staged uploads and for what probes and sweeps delete."
        .to_owned()
}

/// The time of a probe as the end of a phrase, such as ` at 2026-01-02T03:04:05Z`; empty if the time is unknown.
fn at_time(probed_at: Option<Timestamp>) -> String {
    probed_at.map_or_else(String::new, |at| format!(" at {at}"))
}
