//! Opens a store: reads or writes `FORMAT`, and probes what the storage honours.
//!
//! This module must never touch an artifact.

use artifact_store_core::StoreError;
use object_store::PutMode;
use serde_json::{Value, json};

use crate::error::{RequestError, RequestErrorKind};
use crate::layout::FORMAT_VERSION;
use crate::probe::{FeatureSource, KnownFeatures, probe};
use crate::settings::{ConditionalCreate, ObjectStoreConfig};
use crate::state::StoreState;

/// The largest object that is read as `FORMAT`, in bytes.
const MAX_FORMAT_BYTES: usize = 64 * 1024;
/// The name in `FORMAT`, which no other program writes.
const FORMAT_NAME: &str = "artifact-store-object-store";

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// Creates the store if it does not exist. Probes the storage.
    Open,
    /// Fails if the store does not exist. Writes nothing, so it never probes.
    Existing,
}

/// Opens the store.
///
/// # Errors
/// Everything that prevents the use of the store. Each message says what to do.
pub(crate) async fn open(config: ObjectStoreConfig, mode: OpenMode) -> Result<StoreState, StoreError> {
    config.validate()?;
    if mode == OpenMode::Open && config.upload_ttl < config.min_upload_ttl() {
        return Err(StoreError::invalid_option(
            "upload_ttl",
            format!(
                "must be at least {}s, because puts need half of it to store their records, and clocks differ; it follows \
                 from request_timeout and retry_timeout",
                config.min_upload_ttl().as_secs()
            ),
        ));
    }
    let mut state = StoreState::new(config, KnownFeatures::assumed());
    let exists = read_format(&state).await?;
    if !exists && mode == OpenMode::Existing {
        let key = state.layout.format_key();
        return Err(StoreError::invalid(format!("there is no store here: the storage has no object {key}")));
    }
    let configured =
        |conditional_create| KnownFeatures { conditional_create, source: FeatureSource::Configured };
    state.known = match state.config.conditional_create {
        ConditionalCreate::Yes => configured(true),
        ConditionalCreate::No => configured(false),
        ConditionalCreate::Probe if mode == OpenMode::Existing => KnownFeatures::assumed(),
        ConditionalCreate::Probe => match probe(state.objects(), &state.layout).await {
            Ok(known) => known,
            // The credentials may only read. Then nothing is put either.
            Err(RequestError { kind: RequestErrorKind::AccessDenied, error }) if exists => {
                tracing::warn!(%error, "cannot probe what the storage honours");
                KnownFeatures::assumed()
            }
            Err(failed) => return Err(failed.into()),
        },
    };
    if !exists {
        create(&state).await?;
    }
    Ok(state)
}

/// Creates the store. If another process creates it at the same time, its `FORMAT` is used.
async fn create(state: &StoreState) -> Result<(), StoreError> {
    let key = state.layout.format_key();
    let format = json!({ "store": FORMAT_NAME, "version": FORMAT_VERSION }).to_string();
    match state.put_small("writing the store's FORMAT", &key, format, PutMode::Create).await {
        Ok(()) => Ok(()),
        Err(RequestError { kind: RequestErrorKind::AlreadyExists, .. }) => read_format(state).await.map(drop),
        Err(failed) => Err(failed.into()),
    }
}

/// Reads `FORMAT`. Returns `false` if it does not exist.
///
/// # Errors
/// `InvalidArgument` if another program or a newer build of this driver wrote it; `Unavailable`, `Backend`.
async fn read_format(state: &StoreState) -> Result<bool, StoreError> {
    let key = state.layout.format_key();
    let format = state.get_small("reading the store's FORMAT", &key, MAX_FORMAT_BYTES).await?;
    let Some(format) = format else { return Ok(false) };
    let value: Value = serde_json::from_slice(&format).unwrap_or_default();
    if value.get("store").and_then(Value::as_str) != Some(FORMAT_NAME) {
        return Err(StoreError::invalid_option(
            "prefix",
            format!("has an object {key} of another program or driver; choose another prefix"),
        ));
    }
    match value.get("version").and_then(Value::as_u64) {
        Some(FORMAT_VERSION) => Ok(true),
        version => Err(StoreError::invalid_option(
            "prefix",
            format!(
                "has a store of format {}, and this build knows format {FORMAT_VERSION}; use a newer build",
                version.map_or("unknown".to_owned(), |version| version.to_string())
            ),
        )),
    }
}
