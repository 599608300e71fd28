//! Opens a store: finds the bucket, and reads or writes `FORMAT`. If `FORMAT` records no current result of a probe,
//! probes what the storage honours.
//!
//! This module must never touch an artifact.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use artifact_store_core::{Clock, ErrorKind, StoreError, SystemClock};
use aws_sdk_s3::Client;

use crate::bucket::{check_bucket, retention, versioning};
use crate::config::S3Config;
use crate::error::{self, Operation, RequestError, RequestErrorKind};
use crate::features::{
    FeatureSource, KnownFeatures, StorageFeatures, Versioning, is_outdated, retention_notice,
};
use crate::format::{FormatObject, OpenedFormat, StoreFormat, configured_features};
use crate::layout::Layout;
use crate::object_client::ObjectClient;
use crate::probe::FeatureProbe;
use crate::record::{META_RECORD, META_RECORD_OBJECT};
use crate::small_object::{IfExists, SmallObject};
use crate::state::StoreState;

const READ_FORMAT: Operation = Operation::read("reading the store's FORMAT");
const WRITE_FORMAT: Operation = Operation::write("writing the store's FORMAT");
/// The shortest time between the starts of two refreshes of the features. It limits retries after a failure.
const RETRY_INTERVAL: Duration = Duration::from_hours(1);
/// The largest object that is read as `FORMAT`, in bytes. The driver writes less than 1 KiB.
const MAX_FORMAT_BYTES: i64 = 64 * 1024;

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// Creates the store if it does not exist. Probes the storage if the recorded features are missing or outdated.
    Open,
    /// As `Open`, but probes the storage even if the recorded features are current.
    Probe,
    /// As `Open`, but fails if the store does not exist.
    Refresh,
    /// Fails if the store does not exist. Writes nothing, so it never probes.
    Existing,
}

/// Finds the bucket, reads `FORMAT` and determines what the storage honours.
///
/// If the option `conditional_create` sets the features, the storage is not probed. Otherwise the storage is probed in
/// four cases: `FORMAT` records no features, its features are those of another address, the bucket's versioning has
/// changed since the last probe, or the last probe is at least a day old or its time is unknown. With
/// [`OpenMode::Probe`], the storage is probed even if the recorded features are current. With [`OpenMode::Existing`],
/// the storage is never probed.
///
/// # Errors
/// Everything that prevents the use of the store. Each message says what to do.
pub(crate) async fn open_format(
    config: &S3Config,
    client: &Client,
    mode: OpenMode,
) -> Result<OpenedFormat, StoreError> {
    // Some storages create a missing bucket on the first write. So a mistyped bucket must be detected before any write.
    let (bucket_check, object, versioning) =
        tokio::join!(check_bucket(config, client), read_format(config, client), versioning(config, client));
    bucket_check?;
    let object = object?;
    let recorded = object.as_ref().and_then(|object| object.known_features(config));
    if let Some(features) = configured_features(config) {
        let known = KnownFeatures {
            features,
            source: FeatureSource::Configured,
            probed_at: None,
            versioning,
            // The retention is looked up only after a probe.
            retention: None,
        };
        return match object {
            Some(object) => Ok(OpenedFormat { known, format: object.format }),
            None if mode == OpenMode::Existing => Err(no_store(config)),
            None => create(config, client, known).await,
        };
    }
    // The recorded features are current, so the storage is not probed.
    if let (Some(object), Some(known)) = (&object, &recorded)
        && mode != OpenMode::Probe
        && known.versioning == versioning
        && !is_outdated(known.probed_at)
    {
        return Ok(OpenedFormat { known: known.clone(), format: object.format.clone() });
    }
    match &object {
        // This mode must write nothing, and a probe writes. So even outdated features are used.
        Some(object) if mode == OpenMode::Existing => {
            return Ok(opened_without_probe(object, recorded, versioning));
        }
        // If the bucket of an open store was emptied, a new `FORMAT` would hide this, and would not contain the key
        // that encrypts the store's records.
        None if matches!(mode, OpenMode::Existing | OpenMode::Refresh) => return Err(no_store(config)),
        _ => {}
    }
    let probe = FeatureProbe::new(config, client)?;
    let probed = async {
        // Otherwise, a key that may write and not delete would leave objects in the bucket at each opening.
        if object.is_some() && mode != OpenMode::Probe {
            probe.check_may_delete().await?;
        }
        probe.run().await
    };
    let features = match (probed.await, &object) {
        (Ok(features), _) => features,
        // The access key lacks a permission that the probe needs. For example, it may only read.
        (Err(RequestError { kind: RequestErrorKind::AccessDenied, error }), Some(object))
            if mode != OpenMode::Probe =>
        {
            tracing::warn!(%error, "cannot probe what the storage honours");
            return Ok(opened_without_probe(object, recorded, versioning));
        }
        (Err(failed), _) => return Err(failed.into()),
    };
    let retention = retention(config, client).await;
    let probed_at = Some(SystemClock.now());
    let known = KnownFeatures { features, source: FeatureSource::Probed, probed_at, versioning, retention };
    if known.retention.is_some() {
        tracing::warn!(bucket = config.bucket, "{}", retention_notice());
    }
    let Some(object) = object else { return create(config, client, known).await };
    let format = object.format;
    let new_object = FormatObject::new(format.clone(), config, &known);
    match write_format(config, client, &new_object, IfExists::Overwrite).await {
        // If the access key may not write `FORMAT`, the result is not recorded, and the next opening probes again.
        Ok(()) | Err(RequestError { kind: RequestErrorKind::AccessDenied, .. }) => {
            Ok(OpenedFormat { known, format })
        }
        Err(failed) => Err(failed.into()),
    }
}

/// The error if there is no store under the prefix.
fn no_store(config: &S3Config) -> StoreError {
    let key = Layout::new(&config.prefix).format_key();
    StoreError::invalid(format!("there is no store here: the bucket '{}' has no object {key}", config.bucket))
}

/// The result of opening an existing store without a probe: its format and the recorded features. If no features are
/// recorded, the result has the minimal features, which assume that the storage honours no condition.
fn opened_without_probe(
    object: &FormatObject,
    recorded: Option<KnownFeatures>,
    versioning: Versioning,
) -> OpenedFormat {
    let known = recorded.unwrap_or_else(|| KnownFeatures {
        features: StorageFeatures::minimal(),
        source: FeatureSource::Assumed,
        probed_at: None,
        versioning,
        retention: object.retention.clone(),
    });
    OpenedFormat { known, format: object.format.clone() }
}

/// Creates the store: writes `FORMAT`, which records the features from `known`. If several processes create the store
/// at the same time, each process continues with the `FORMAT` that it reads back.
async fn create(
    config: &S3Config,
    client: &Client,
    known: KnownFeatures,
) -> Result<OpenedFormat, StoreError> {
    // If artifacts exist, only `FORMAT` was lost. The new `FORMAT` must then have the format of these artifacts.
    let format = match format_of_artifacts(config, client).await? {
        Some(format) => format,
        None => StoreFormat::new(config)?,
    };
    // The encryption key is written to its own object, before `FORMAT` is written. If several processes create the
    // store at once, only one `FORMAT` is kept. The other processes may already have encrypted records with their own
    // keys, and these records must stay readable.
    if let Some(record_key) = &format.record_key {
        let key = Layout::new(&config.prefix).encryption_key_object(&record_key.id_text());
        put(config, client, &key, record_key.to_text().into_bytes(), IfExists::Overwrite).await?;
    }
    let if_exists = if known.features.conditions.put { IfExists::Fail } else { IfExists::Overwrite };
    let object = FormatObject::new(format.clone(), config, &known);
    match write_format(config, client, &object, if_exists).await {
        Ok(()) | Err(RequestError { kind: RequestErrorKind::PreconditionFailed, .. }) => {}
        Err(failed) => return Err(failed.into()),
    }
    let format = read_format(config, client).await?.map_or(format, |object| object.format);
    Ok(OpenedFormat { known, format })
}

/// The format of a store whose `FORMAT` is lost, derived from its artifacts; `None` if there are no artifacts.
async fn format_of_artifacts(config: &S3Config, client: &Client) -> Result<Option<StoreFormat>, StoreError> {
    let layout = Layout::new(&config.prefix);
    let operation = Operation::bucket("looking for artifacts under the prefix", "s3:ListBucket");
    // The first key with a prefix; `None` if there is none.
    let first_key = async |prefix: String| {
        let list = client.list_objects_v2().bucket(&config.bucket).prefix(prefix).max_keys(1).send().await;
        let list = list.map_err(|error| error::from_sdk_error(config, operation, error))?;
        Ok::<_, StoreError>(list.contents.unwrap_or_default().into_iter().find_map(|object| object.key))
    };
    let Some(key) = first_key(layout.artifacts_prefix()).await? else { return Ok(None) };
    let head = client.head_object().bucket(&config.bucket).key(key).send().await;
    let head = head.map_err(|error| error::from_sdk_error(config, READ_FORMAT, error))?;
    // Only format 1 writes these two metadata entries.
    let is_version_1 = head.metadata().is_some_and(|metadata| {
        metadata.contains_key(META_RECORD) || metadata.contains_key(META_RECORD_OBJECT)
    });
    if is_version_1 {
        return Ok(Some(StoreFormat::version_1()));
    }
    let indexed = first_key(layout.index_prefix()).await?.is_some();
    Ok(Some(StoreFormat { indexed, ..StoreFormat::new(config)? }))
}

/// Reads `FORMAT`; `None` if it does not exist.
///
/// # Errors
/// As [`FormatObject::parse`]; `Unavailable`, `Backend`.
async fn read_format(config: &S3Config, client: &Client) -> Result<Option<FormatObject>, StoreError> {
    let key = Layout::new(&config.prefix).format_key();
    let got = match client.get_object().bucket(&config.bucket).key(&key).send().await {
        Ok(got) => got,
        Err(error) => match error::from_sdk_error(config, READ_FORMAT, error) {
            RequestError { kind: RequestErrorKind::NoSuchKey, .. } => return Ok(None),
            failed => return Err(failed.into()),
        },
    };
    if got.content_length().is_none_or(|length| length > MAX_FORMAT_BYTES) {
        // Such an object is treated as the object of another program. `parse` always fails for empty text, and its
        // error says that another program wrote the object.
        return FormatObject::parse(&key, b"").map(Some);
    }
    let body = tokio::time::timeout(config.request_timeout, got.body.collect())
        .await
        .map_err(|_| error::body_timeout(config))?
        .map_err(|error| error::body_read_error(config, &error))?;
    FormatObject::parse(&key, &body.into_bytes()).map(Some)
}

/// Writes `FORMAT`.
async fn write_format(
    config: &S3Config,
    client: &Client,
    object: &FormatObject,
    if_exists: IfExists,
) -> Result<(), RequestError> {
    put(config, client, &Layout::new(&config.prefix).format_key(), object.to_json(), if_exists).await
}

/// Writes an object that belongs to the store and not to an artifact: `FORMAT`, or an encryption key.
async fn put(
    config: &S3Config,
    client: &Client,
    key: &str,
    bytes: Vec<u8>,
    if_exists: IfExists,
) -> Result<(), RequestError> {
    // Opening is rare, so all its requests are sent by the S3 client.
    let objects = ObjectClient::new(config, client.clone(), None);
    SmallObject { if_exists, ..SmallObject::new(key, bytes) }.put(config, &objects, WRITE_FORMAT).await
}

impl StoreState {
    /// Refreshes the features in the background if the last probe is more than a day old or its time is unknown. Takes
    /// the features from `FORMAT` if another process has recorded newer ones there. Otherwise probes the storage. If
    /// `FORMAT` is gone, nothing is written. Until the refresh ends, puts use the old features. At most one refresh
    /// starts in each [`RETRY_INTERVAL`].
    pub(crate) fn refresh_features(self: &Arc<Self>) {
        if !self.known.read().unwrap_or_else(PoisonError::into_inner).is_outdated() {
            return;
        }
        {
            let mut last_refresh = self.last_refresh.lock().unwrap_or_else(PoisonError::into_inner);
            if last_refresh.is_some_and(|last| last.elapsed() < RETRY_INTERVAL) {
                return;
            }
            *last_refresh = Some(Instant::now());
        }
        let state = Arc::clone(self);
        self.tasks.spawn_detached(async move {
            // Boxed, because this future is large.
            match Box::pin(open_format(&state.config, &state.client, OpenMode::Refresh)).await {
                Ok(opened) => *state.known.write().unwrap_or_else(PoisonError::into_inner) = opened.known,
                // An outage of the storage is not logged. A later call tries again.
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => tracing::warn!(%error, "cannot probe what the storage honours"),
            }
        });
    }
}
