//! Probes what the storage honours: whether it refuses to create an object that exists.
//!
//! A probe deletes the objects that it creates. If that fails, a sweep deletes them. This module must never touch an
//! artifact.

use std::sync::Arc;

use artifact_store_core::StoreFeature;
use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::error::{RequestError, RequestErrorKind, request_error};
use crate::layout::{Layout, random_hex};

const PROBE: &str = "probing what the storage honours";
/// The number of puts in the race: a storage that first looks and then writes lets several of them win.
const RACE_WRITERS: usize = 6;

/// How it is known what the storage honours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeatureSource {
    /// A probe has found it out.
    Probed,
    /// The option `conditional_create` says it.
    Configured,
    /// Nothing is known, so the least is assumed.
    Assumed,
}

/// What the storage honours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownFeatures {
    /// Whether the storage refuses to create an object that exists, also in a race.
    pub(crate) conditional_create: bool,
    pub(crate) source: FeatureSource,
}

impl KnownFeatures {
    /// The features that are assumed if the storage cannot be probed.
    pub(crate) fn assumed() -> Self {
        Self { conditional_create: false, source: FeatureSource::Assumed }
    }

    /// The features for people.
    pub(crate) fn describe(self) -> Vec<StoreFeature> {
        let source = match self.source {
            FeatureSource::Probed => "Probed at opening.",
            FeatureSource::Configured => "Set by the option conditional_create.",
            FeatureSource::Assumed => "Not probed, so the least is assumed.",
        };
        let consequence = if self.conditional_create {
            "A put creates its record with this condition."
        } else {
            "A put claims its key by an object of its own, which takes four more requests."
        };
        vec![StoreFeature {
            name: "conditional_create",
            value: if self.conditional_create { "yes" } else { "no" }.to_owned(),
            about: format!("{source} {consequence}"),
        }]
    }
}

/// Probes the storage.
pub(crate) async fn probe(
    store: &Arc<dyn ObjectStore>,
    layout: &Layout,
) -> Result<KnownFeatures, RequestError> {
    let random = || random_hex().map_err(|error| RequestError { kind: RequestErrorKind::Rejected, error });
    let (existing, raced) = (layout.probe_key(&random()?), layout.probe_key(&random()?));
    let honoured = async {
        create(store, &existing).await?;
        Ok(!create(store, &existing).await? && is_race_won_once(store, &raced).await?)
    }
    .await;
    for key in [&existing, &raced] {
        match store.delete(key).await.map_err(|error| request_error("deleting a probe's object", &error)) {
            Ok(()) | Err(RequestError { kind: RequestErrorKind::NotFound, .. }) => {}
            // Without this permission, no artifact could be deleted.
            Err(failed) if failed.kind == RequestErrorKind::AccessDenied => return Err(failed),
            Err(failed) => tracing::warn!(error = %failed.error, %key, "a probe's object was not deleted"),
        }
    }
    honoured.map(|conditional_create| KnownFeatures { conditional_create, source: FeatureSource::Probed })
}

/// Whether exactly one of several puts creates the object at `key`.
async fn is_race_won_once(store: &Arc<dyn ObjectStore>, key: &Path) -> Result<bool, RequestError> {
    let results = join_all((0..RACE_WRITERS).map(|_| create(store, key))).await;
    let mut winners = 0;
    for result in results {
        winners += usize::from(result?);
    }
    Ok(winners == 1)
}

/// Creates an object. `false` if the storage refuses, because it exists.
async fn create(store: &Arc<dyn ObjectStore>, key: &Path) -> Result<bool, RequestError> {
    let put = store.put_opts(key, PutPayload::from_static(b"probe"), PutOptions::from(PutMode::Create)).await;
    match put.map_err(|error| request_error(PROBE, &error)) {
        Ok(_) => Ok(true),
        Err(RequestError { kind: RequestErrorKind::AlreadyExists, .. }) => Ok(false),
        Err(failed) => Err(failed),
    }
}
