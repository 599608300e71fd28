//! The s3 driver of artifact-store: artifacts as objects in a bucket.
//!
//! # Layout
//! ```text
//! {prefix}FORMAT                                          what made this a store, and what the storage can do
//! {prefix}a/{tenant}/{user}/{session}/{name}              one object an artifact
//! {prefix}o/{tenant}/…/{name}.{random}                    the record of an artifact whose metadata cannot hold it
//! {prefix}u/{random}                                      a body on its way in whose artifact is not known yet
//! {prefix}p/…                                             presigned uploads
//! ```
//! The name hashes the whole scope, task included, and the id with 160 bits. The components before it are 80 bits each of
//! core's [`KeyToken`](artifact_store_core::KeyToken)s, the tenant's with its readable stub: they narrow listings and decide
//! nothing. An artifact's object holds exactly its bytes, so a presigned download serves them as they are; its user metadata `artifact` holds the record: JSON in base64url, a dot and
//! 128 bits of the JSON's SHA-256. So one GET or HEAD gives everything. The protocol gives 2 KiB to all user metadata; a
//! longer record is stored in an object of its own first, which the metadata `artifact-side` name with its SHA-256: such an
//! artifact costs one request more to put, get, stat, list and delete. `artifact-mark` is random and tells one put from
//! another. The media type is the object's too, where it can stand in a header.
//!
//! An object at an artifact's key without our metadata is no artifact: reads say that there is none (some stores show bytes
//! before metadata), and a put waits about two seconds for it to become one, then says `Corrupt`. Metadata that are ours
//! but altered, of another scope or id, or an object of another length are `Corrupt`. The bytes are compared with their
//! SHA-256 by the [`Gate`](artifact_store_core::Gate), while they flow.
//!
//! # Commit point
//! The one request that makes the artifact's object, with its metadata: `PutObject`, `CopyObject` or
//! `CompleteMultipartUpload`. A body at hand, or a stream that ends within one part, is one `PutObject` whose SHA-256 the store
//! compares (it is not hashed again to be signed). A longer stream goes up in parts: straight to its key where digest and
//! length are announced, otherwise to `u/`, from where it is copied within the store once its id is known. Nothing of it can
//! be seen before. Where the store compares them, each part carries its CRC32C; where it does not, what the network alters
//! without noticing is found out on reading.
//!
//! Whatever ends a put early ends its upload and removes what it staged, in the background and with retries;
//! [`close`](artifact_store_core::ArtifactStore::close) waits for that. What a killed process leaves is removed by a
//! [sweep](S3Store::sweep) once it is older than `upload_ttl`, which must be longer than any upload takes. A store that
//! cannot list uploads in parts needs a rule of the bucket for them.
//!
//! A put whose answer is lost is sent again. If then something stands there already, the mark says whether it is this put's
//! own work, which is `created` all the same. A put that was not heard to the end looks once whether the artifact stands.
//!
//! # Concurrency
//! Within a process, puts and deletes of one key take turns, whatever store they come from; each runs to its end once it is
//! begun, even where the caller goes away. Between processes `If-None-Match` decides, where the store honours it. Where it
//! does not, a put asks first and then writes: two processes that put the same bytes at the same instant may both be told
//! `created`, and the later one's options stay. It is one artifact with the same bytes all the same. Two processes that
//! delete one artifact at the same instant may both be told `true`.
//!
//! Whether the store honours it is asked once, when a prefix is first opened, and recorded in `FORMAT` with the address it
//! was asked at; another address is asked again. The option `conditional_create` says it instead; then nothing is asked,
//! and parts carry no checksum.
//!
//! # Flags and limits
//! `SHARED` and `DURABLE`. An artifact has at most 10 000 parts and 5 TiB.
//!
//! | verb | requests |
//! |---|---|
//! | put, at most one part | 1 where the condition is honoured, else 2; 2 or 1 where it stood already |
//! | get | 1; 2 where there is no artifact; a range past the end, or a suffix that the store breaks on: 1 or 2 more |
//! | stat | 1; 2 where there is no artifact, because only so it is told from a missing bucket |
//! | delete | 2 |
//! | list | 1 for each 1000 keys of the narrowest prefix, and 1 for each key, `list_concurrency` at once |
//!
//! A listing has no index, and its records are in the objects: each page looks at all keys again that its scope covers, and
//! past `max_scan` keys it is refused and says so. A key whose size the filter excludes is not read.
//!
//! A put takes memory for `part_concurrency` parts and two; a listing a page of keys and the page of rows; a get what the
//! connection holds. Each request has `request_timeout` to be answered, and one second more for each 256 KiB it sends; a
//! body that is read may stand still for as long.
//!
//! # Not done here
//! - No encryption or lifecycle of objects, and no versions: those are the bucket's, and a lifecycle rule that removes
//!   objects removes artifacts. Where the bucket keeps versions, a delete leaves the old one to it.
//! - No defence against who may write in the bucket.
//! - Stores that copy or put an object visibly bit by bit are not made atomic.

mod abilities;
mod address;
mod chunks;
mod cleanup;
mod client;
mod config;
mod create;
mod error;
mod inner;
mod layout;
mod list;
mod locks;
mod multipart;
mod options;
mod presign;
mod put;
mod read;
mod record;
mod store;
mod sweep;
mod tasks;
mod upload;

use std::sync::Arc;

use artifact_store_core::{
    Ability, ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, Swept, SystemClock,
    UrlForm, async_trait,
};

pub use config::{ConditionalCreate, S3Config};
pub use store::S3Store;
pub use sweep::SweepReport;

pub(crate) const NAME: &str = "s3";

/// The driver, for a [`Registry`](artifact_store_core::Registry).
#[derive(Debug, Clone, Copy, Default)]
pub struct S3Driver;

#[async_trait]
impl Driver for S3Driver {
    fn info(&self) -> &'static DriverInfo {
        &DriverInfo {
            name: NAME,
            about: "Artifacts as objects in a bucket of S3, or of a store that speaks its protocol.",
            options: options::OPTIONS,
            url: UrlForm::HostAndPath { host: "bucket", path: "prefix" },
            bytes_cannot_change: false,
        }
    }

    fn capabilities(&self, options: &Options) -> Capabilities {
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

    async fn abilities(&self, options: &Options) -> Result<Vec<Ability>, StoreError> {
        let store = S3Store::open(S3Config::from_options(options, Arc::new(SystemClock))?).await?;
        let abilities = store.abilities()?;
        store.close().await?;
        Ok(abilities)
    }

    async fn sweep(&self, options: &Options) -> Result<Swept, StoreError> {
        let store = S3Store::open(S3Config::from_options(options, Arc::new(SystemClock))?).await?;
        let SweepReport { objects, uploads, young, uploads_known: _ } = store.sweep().await?;
        store.close().await?;
        Ok(Swept { removed: objects + uploads, spared: young })
    }
}
