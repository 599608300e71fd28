//! The state of an open store, shared by all methods: [`StoreState`].
//!
//! This module must never know how bytes are written or read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use artifact_store_core::{Health, StoreError};
use artifact_store_object_support::{KeyLockGuard, TaskTracker, lock_key};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::bucket;
use crate::client::Clients;
use crate::config::S3Config;
use crate::encryption::{RecordKey, RecordKeyId};
use crate::error::{self, Operation, RequestError, RequestErrorKind};
use crate::features::KnownFeatures;
use crate::format::{OpenedFormat, StoreFormat};
use crate::layout::Layout;
use crate::object_client::ObjectClient;
use crate::presign_credentials::CredentialsCache;
use crate::record::RecordEncoding;

/// Everything that the methods of an open store share.
#[derive(Debug)]
pub(crate) struct StoreState {
    /// Sends all requests but those for single objects.
    pub(crate) client: Client,
    /// Sends requests for single objects.
    pub(crate) objects: ObjectClient,
    /// Signs URLs for `presign_endpoint`; `None` if that option is not set.
    pub(crate) presign_client: Option<Client>,
    /// The access key that signs URLs.
    pub(crate) presign_credentials: CredentialsCache,
    pub(crate) bucket: String,
    pub(crate) layout: Layout,
    pub(crate) config: S3Config,
    pub(crate) format: StoreFormat,
    /// What the storage honours. The storage is probed again once a day.
    pub(crate) known: RwLock<KnownFeatures>,
    /// When a refresh of `known` last started; `None` if none has started.
    pub(crate) last_refresh: Mutex<Option<Instant>>,
    /// A cache of the keys that encrypt records, by id. It contains the store's own key from the start.
    pub(crate) record_keys: RwLock<HashMap<RecordKeyId, RecordKey>>,
    pub(crate) tasks: Arc<TaskTracker>,
    closed: AtomicBool,
}

impl StoreState {
    pub(crate) fn new(config: S3Config, clients: Clients, opened: OpenedFormat) -> Self {
        let Clients { client, objects, presign_client, credentials } = clients;
        let OpenedFormat { known, format } = opened;
        let record_keys = format.record_key.iter().map(|key| (key.id(), key.clone())).collect();
        Self {
            client,
            objects,
            presign_client,
            presign_credentials: CredentialsCache::new(credentials),
            bucket: config.bucket.clone(),
            layout: Layout::new(&config.prefix),
            config,
            format,
            known: RwLock::new(known),
            last_refresh: Mutex::default(),
            record_keys: RwLock::new(record_keys),
            tasks: TaskTracker::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Marks the store as closed. A running put, listing or sweep fails with `Closed` before its next step.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Fails with `Closed` once the store is closed.
    pub(crate) fn ensure_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// Maps an error of the S3 client to a [`RequestError`]. `operation` is the request that failed.
    pub(crate) fn request_error<E>(
        &self,
        operation: Operation,
        error: SdkError<E, HttpResponse>,
    ) -> RequestError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        error::from_sdk_error(&self.config, operation, error)
    }

    /// Acquires the lock on the object at `key`. The lock excludes only other tasks of this process.
    pub(crate) async fn lock_key(&self, key: &str) -> KeyLockGuard {
        // The locks of all stores in this process are in one map, so the name contains the server and the bucket.
        lock_key(format!("{} {} {key}", self.config.server_name(), self.bucket)).await
    }

    /// How new records are encoded.
    pub(crate) fn record_encoding(&self) -> RecordEncoding {
        RecordEncoding { key: self.format.record_key.clone(), metadata_limit: self.features().metadata_limit }
    }

    /// Reads a whole body into memory. Fails with `Corrupt` if the body is longer than the largest record. `key` is the
    /// object's key, for the message.
    pub(crate) async fn read_small_body(
        &self,
        key: &str,
        mut body: aws_sdk_s3::primitives::ByteStream,
    ) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        loop {
            let chunk = tokio::time::timeout(self.config.request_timeout, body.next())
                .await
                .map_err(|_| error::body_timeout(&self.config))?;
            let Some(chunk) = chunk else { return Ok(bytes) };
            bytes.extend_from_slice(&chunk.map_err(|error| error::body_read_error(&self.config, &error))?);
            if bytes.len() > crate::record::MAX_RECORD_BYTES {
                return Err(StoreError::corrupt(format!("{key}: the object is far too large")));
            }
        }
    }

    /// Checks that the object `FORMAT` still exists. Sends one request, and a second one if the object is missing.
    pub(crate) async fn health(&self) -> Result<Health, StoreError> {
        let key = self.layout.format_key();
        match self.objects.get(&key, None, Operation::read("checking the store's health")).await {
            Ok(_) => Ok(Health::ready()),
            Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => {
                self.check_bucket().await?;
                Err(StoreError::unavailable(format!(
                    "the object {key} is gone, and other objects may be, too: was the bucket emptied, or restored without it?"
                )))
            }
            Err(failed) => Err(failed.into()),
        }
    }

    /// Fails if the bucket does not exist. Callers use this after a request has found no object, because the bucket may
    /// be missing instead. The response to a HEAD request is the same in both cases. On some servers, the response to a
    /// GET request is the same, too.
    pub(crate) async fn check_bucket(&self) -> Result<(), StoreError> {
        bucket::check_bucket(&self.config, &self.client).await
    }

    /// The client that signs URLs: it uses `presign_endpoint` if that option is set.
    pub(crate) fn presign_client(&self) -> &Client {
        self.presign_client.as_ref().unwrap_or(&self.client)
    }

    /// What the storage honours.
    pub(crate) fn features(&self) -> crate::features::StorageFeatures {
        self.known.read().unwrap_or_else(PoisonError::into_inner).features
    }
}
