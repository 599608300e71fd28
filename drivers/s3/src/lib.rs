//! The s3 driver of artifact-store: artifacts as objects in a bucket.
//!
//! # Layout
//! ```text
//! {prefix}FORMAT                                          marks a store; records the features of the storage
//! {prefix}k/{id}                                          a key that encrypts records
//! {prefix}a/{tenant}/{user}/{session}/{name}              one object per artifact
//! {prefix}a/{tenant}/{user}/{session}/{name}.{random}     a claim on that key, while a put is running
//! {prefix}i/{tenant}/{user}/{session}/{time}.{task}.{name}.{mark}   the index: one empty object per artifact
//! {prefix}o/{tenant}/…/{name}.{random}                    a record object: a record too long for the metadata
//! {prefix}u/{random}                                      a staged upload: its digest, and so its id, is not known yet
//! {prefix}p/…                                             presigned uploads
//! {prefix}SWEEP                                           a sweep is running
//! ```
//! `{name}` is a hash of 160 bits. It covers the whole scope, including the task, and the id. The components
//! `{tenant}`, `{user}` and `{session}` each contain 80 bits of a hash: core computes one hash for each part of a
//! scope, in a [`KeyToken`](artifact_store_core::KeyToken). The tenant's component also starts with up to 12 readable
//! characters of the tenant. These three components only narrow listings. The components of two scopes may be the same,
//! so a listing also compares the scope in each record.
//!
//! In an index key, `{time}` orders the newest artifacts first. `{task}` is the start of a hash of the task. `{mark}`
//! is the start of the put's mark: a random value that identifies the put.
//!
//! An artifact's object holds exactly the artifact's bytes, so a presigned download serves them unchanged. The object's
//! user metadata hold the record, encrypted with AES-256-GCM and encoded in base64url. The name of the metadata entry
//! is `artifact-record`. If the storage accepts only short values, the record is split, and the further parts are in
//! `artifact-record-1`, `artifact-record-2` and so on. So one GET returns the bytes and the record, and one HEAD
//! returns the record.
//!
//! The protocol allows 2 KiB for all user metadata. A longer record is stored in a record object, before the artifact's
//! object is created. The metadata entry `artifact-record-at` names the record object. To put, get, stat, list or
//! delete such an artifact takes one more request. With an index, a delete takes two more, because the index key is
//! computed from the record. The metadata entry `artifact-mark` is the put's mark. The object's content type is the
//! artifact's media type if it can be sent in a header.
//!
//! This is format 2. Stores of format 1 keep the record in clear text: in the metadata entry `artifact`, or in a record
//! object that the entry `artifact-side` names. Such stores have no index, and the driver keeps them in format 1.
//!
//! An object without the driver's metadata is not an artifact, even if it is at an artifact's key. Reads report it as
//! missing, because some servers show an object's bytes before its metadata. A put waits about 2 seconds for the
//! metadata and then fails with `Corrupt`. A read fails with `Corrupt` in these cases: the driver's metadata were
//! altered, they belong to another scope or id, the record object or the encryption key is missing or altered, or the
//! object's length differs from the record's. The [`Gate`](artifact_store_core::Gate) compares the bytes with their
//! SHA-256 during the transfer.
//!
//! # Commit point
//! One request creates the artifact's object with its metadata: `PutObject`, `CopyObject` or `CompleteMultipartUpload`.
//! This request is called the creating request below.
//!
//! A body in memory of at most 64 MiB, or a stream that ends within one part, is one `PutObject`. The driver sends the
//! body's SHA-256, so that the server can compare the bytes. The bytes are not hashed again for the signature. A longer
//! body is uploaded in parts. If digest and length are announced, the parts go directly to the artifact's key.
//! Otherwise the parts go to `u/`. Once the id is known, the storage copies the staged object to the artifact's key. No
//! artifact is visible before its commit. If the server compares checksums of parts, each part is sent with its CRC32C.
//! Otherwise, altered bytes are detected only when the artifact is read. The record object and the index key are
//! written before the artifact's object and deleted after it, so they exist as long as the artifact exists.
//!
//! A put that fails or is dropped aborts its upload and deletes its staged objects, in the background and with retries.
//! [`close`](artifact_store_core::ArtifactStore::close) waits at most 20 seconds for these tasks. A
//! [sweep](S3Store::sweep) deletes orphans of killed processes once the orphans are older than `upload_ttl`. So
//! `upload_ttl` must be longer than any upload takes. If a server cannot list multipart uploads, a sweep does not find
//! unfinished uploads. A lifecycle rule of the bucket must then abort them.
//!
//! If the response to the creating request is lost, the client sends the request again. If an artifact exists by then,
//! its mark shows whether this put created it. If so, the result is `created`. If the outcome of the request stays
//! unknown, the put looks up once whether the artifact exists.
//!
//! # Concurrency
//! Within a process, puts and deletes of one key run one after the other, even if the process has opened the store
//! several times. A commit or a delete that has started runs to completion, even if the caller drops its future.
//!
//! Between processes, puts of one key exclude each other. How they do this depends on the requests for which the
//! storage honours the condition `If-None-Match`. If the storage honours it for `PutObject` and for the creating
//! request, the creating request carries the condition. If the storage honours it only for `PutObject`, the put first
//! reserves the key: it creates an empty object at the key. If the storage does not honour it for `PutObject`, the put
//! claims the key: it writes an empty object beside the key. In all three cases, if two processes put the same bytes,
//! exactly one gets `created`. With the option `single_writer`, a put neither reserves nor claims the key, because then
//! no other process writes. Two processes that delete one artifact at the same moment may both get `true`.
//!
//! What the storage honours is probed when a prefix is first opened. `FORMAT` records the result, a hash of the
//! address, the bucket's versioning and the time. The storage is probed again if its address or the bucket's versioning
//! has changed, or if the result is older than a day. If the option `conditional_create` is not `probe`, this option
//! sets the result. Then nothing is probed, and parts carry no checksum.
//!
//! # Flags and limits
//! The store has the flags `shared`, `durable` and `presign_get`. If the option `presign_put` is true, the store also
//! has the flag `presign_put`. An artifact has at most 10 000 parts and 5 TiB.
//!
//! | verb | requests, without the index key |
//! |---|---|
//! | put, in one request | 1 with a condition; 2 with `single_writer`; 5 with a claim; 1 or 2 if the artifact exists |
//! | get | 1; 2 if the artifact does not exist; 1 or 2 more for a range past the end, or for a refused suffix range |
//! | stat | 1; 2 if the artifact does not exist: the second one checks that the bucket exists |
//! | delete | 2 |
//! | list | of one session: 1, and 1 for each row; of a wider scope: 1 for each 1000 keys, and 1 for each row |
//!
//! The row of the put is for a body that fits into one request. If the storage honours the condition `If-None-Match`
//! for `PutObject`, this request carries the condition. Otherwise the option `single_writer` decides whether a claim is
//! needed.
//!
//! With an index, a put sends one more request, which writes the index key. If the condition then fails because the
//! artifact exists, another request deletes the index key. A delete sends one more request, which deletes the index
//! key. Three requests open an existing store.
//!
//! Without an index (`listing_index=none`, or format 1), each page looks at all keys in its scope and reads each
//! record. A listing that covers more than `max_scan` keys is refused, and the error names this option.
//!
//! A put uses memory for `part_concurrency` parts and two further parts. A listing uses memory for a page of keys and a
//! page of rows. A get uses only the buffer of its connection. Each request waits `request_timeout` for its response,
//! and one second more for each 256 KiB that it sends. A read waits `request_timeout` for each chunk of the body.
//!
//! # Clients
//! The driver signs and sends requests for single objects itself, because the S3 client spends more on such a request
//! than the transfer of a small object takes. Both use the same connections. The S3 client provides access keys and the
//! bucket's address, and sends all other requests: uploads in parts, copies, listings, and what opening a store needs.
//! When a store is opened, the driver compares its signature with the S3 client's. If they differ, the S3 client sends
//! all requests. The timeouts and retries of both are the same.
//!
//! # Not done here
//! - The driver does not encrypt the bytes of artifacts, and sets no lifecycle and no versioning. These are settings of
//!   the bucket. A lifecycle rule that deletes objects deletes artifacts. If the bucket keeps versions, a delete does
//!   not remove the old version: only a lifecycle rule of the bucket removes it.
//! - The driver does not defend against those who may write to the bucket.
//! - Some servers show a copy or a put before it is complete. The driver does not make such requests atomic.

mod bucket;
mod claim;
mod client;
mod commit;
mod companion_objects;
mod config;
mod delete;
mod direct_client;
mod encryption;
mod error;
mod features;
mod format;
mod headers;
mod key_page;
mod layout;
mod list;
mod lookup;
mod multipart;
mod object_client;
mod open;
mod paused_body;
mod presign;
mod presign_credentials;
mod presigned_upload;
mod probe;
mod put;
mod read;
mod record;
mod request_signer;
mod retries;
mod signer_cache;
mod sigv4;
mod small_object;
mod state;
mod store;
mod sweep;
mod temp_object;
mod url_signer;
mod validation;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, StoreFeature, SweepMode,
    SweepSummary, SystemClock, UrlForm, async_trait,
};

pub use config::{ConditionalCreate, ListingIndex, S3Config};
pub use store::S3Store;
pub use sweep::SweepReport;

/// The s3 driver, for a [`Registry`](artifact_store_core::Registry).
#[derive(Debug, Clone, Copy, Default)]
pub struct S3Driver;

#[async_trait]
impl Driver for S3Driver {
    fn info(&self) -> &'static DriverInfo {
        &DriverInfo {
            name: config::NAME,
            about: "Artifacts as objects in a bucket of S3 or of an S3-compatible server.",
            options: config::OPTIONS,
            url: UrlForm::HostAndPath { scheme: None, host: "bucket", path: "prefix" },
            bytes_cannot_change: false,
        }
    }

    fn capabilities(&self, options: &Options) -> Capabilities {
        // With invalid options, no store can be opened, so there are no capabilities.
        S3Config::from_options(options, Arc::new(SystemClock))
            .map_or_else(|_| Capabilities::new(), |config| config.capabilities())
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = S3Config::from_options(options, clock)?;
        Ok(Arc::new(S3Store::open(config).await?))
    }

    async fn store_features(&self, options: &Options) -> Result<Vec<StoreFeature>, StoreError> {
        let store = S3Store::open(S3Config::from_options(options, Arc::new(SystemClock))?).await?;
        let features = store.store_features()?;
        store.close().await?;
        Ok(features)
    }

    async fn probe(&self, options: &Options) -> Result<Vec<StoreFeature>, StoreError> {
        let config = S3Config::from_options(options, Arc::new(SystemClock))?;
        let store = S3Store::open_and_probe(config).await?;
        let features = store.store_features()?;
        store.close().await?;
        Ok(features)
    }

    async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        let config = S3Config::from_options(options, Arc::new(SystemClock))?;
        // A sweep must not create a store, and a dry run must write nothing. `open_existing` does neither.
        let store = S3Store::open_existing(config).await?;
        let report = if mode.deletes() { store.sweep().await } else { store.count_orphans().await };
        store.close().await?;
        let SweepReport { objects, uploads, bytes, young, busy, uploads_known: _ } = report?;
        if busy {
            return Ok(SweepSummary::busy());
        }
        Ok(SweepSummary::new(objects + uploads).with_bytes(bytes).with_spared(young))
    }
}
