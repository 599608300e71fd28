//! The drivers gcs and azure of artifact-store: artifacts as objects in a bucket of Google Cloud Storage, or as blobs
//! in a container of Azure Blob Storage.
//!
//! Both are one store, [`ObjectArtifactStore`], over the crate [`object_store`]. It also opens on any other
//! `ObjectStore`, such as its stores in memory and on local files: [`ObjectStoreConfig::new`].
//!
//! # Layout
//! ```text
//! {prefix}/FORMAT                                          marks a store
//! {prefix}/a/{tenant}/{user}/{session}/{name}              the record of an artifact
//! {prefix}/d/{tenant}/{user}/{session}/{random}            its data object: exactly the artifact's bytes
//! {prefix}/c/{tenant}/{user}/{session}/{name}/{random}     a claim on that record, while a put is running
//! {prefix}/c/sweep/{random}                                a claim of a sweep
//! {prefix}/u/{random}                                      an object of a probe
//! {prefix}/SWEEP                                           a sweep is running
//! ```
//! `{name}` is a hash of 160 bits. It covers the whole scope, including the task, and the id. The components
//! `{tenant}`, `{user}` and `{session}` each contain 80 bits of a hash: core computes one hash for each part of a
//! scope, in a [`KeyToken`](artifact_store_core::KeyToken). The tenant's component also starts with up to 12 readable
//! characters of the tenant. These three components only narrow listings. The components of two scopes may be the same,
//! so a listing also compares the scope in each record.
//!
//! A record is JSON of at most 1 MiB. It contains the random name of its data object. Each put writes a data object of
//! its own, so the name also identifies the put that created the artifact. In a cloud, a data object is stored with the
//! artifact's media type, with the disposition `attachment`, and with `Cache-Control: private`.
//!
//! A record that is not JSON, or that is of another scope or id than its key, is `Corrupt`, and so is an artifact whose
//! data object is missing or has another length. The [`Gate`](artifact_store_core::Gate) compares the bytes with their
//! SHA-256 during the transfer.
//!
//! # Commit point
//! One request creates the record, with `PutMode::Create`: the condition that no object exists at the key. The bytes
//! are stored before it. `object_store` takes no condition when a multipart upload is completed, so the record is an
//! object of its own.
//!
//! A body that fits into one part is one put of the data object. A longer one is uploaded in parts, with at most
//! `part_concurrency` parts in flight. If its digest and length are announced, the put first looks whether the artifact
//! exists, and then sends no bytes. A put that fails or is dropped aborts its upload and deletes its data object, in
//! the background and with retries. [`close`](artifact_store_core::ArtifactStore::close) waits at most 20 seconds for
//! these tasks. A [sweep](ObjectArtifactStore::sweep) deletes what killed processes left, once it is older than
//! `upload_ttl`.
//!
//! If the response to the creating request is lost, the put looks up the record. The name of the data object shows who
//! has created it. If that cannot be found out, the put fails, and its data object stays, because the storage may still
//! create the record. A sweep deletes it if there is no record.
//!
//! A delete removes the record first, and then the data object. A read that finds the record and not the data object
//! reads the record again.
//!
//! # Concurrency
//! Within a process, commits and deletes of one key run one after the other, even if the process has opened the store
//! several times. A commit or a delete that has started runs to completion, even if the caller drops its future.
//!
//! Between processes, the condition decides which put creates the artifact. So if two processes put the same bytes,
//! exactly one gets `created`. Not every emulator honours the condition. So each opening probes it: two creates of one
//! key, and six concurrent ones. If it is not honoured, a put first claims the key: it writes an empty object below
//! `c/`, lists the claims on this key, and continues if its claim is the only one. The claim of a process that died
//! ends after the time that three requests may take. Two processes that delete one artifact at the same moment may both
//! get `true`. If one of them deletes a newer artifact at this key, a sweep deletes the data object of that one.
//!
//! # Flags and limits
//! In a cloud, the store has the flags `shared` and `durable`. It has the flag `presign_get` in Google Cloud if its
//! credentials can sign, and in Azure only if `presign` is also set. `presign_put` is never advertised: a SAS of Azure
//! binds no header, and that Google compares a SHA-256 is not shown. An artifact has at most 10 000 parts and 5 TiB.
//!
//! | verb | requests |
//! |---|---|
//! | put, in one part | 2; 4 if the artifact exists; with claims 6 |
//! | get | 2; if the artifact does not exist, 2 |
//! | stat | 1; if the artifact does not exist, 2: the second one checks that the store exists |
//! | delete | 3 |
//! | list | 1 for each page of keys in the scopes covered, and 1 for each record |
//! | presign | 1, and what the signer needs |
//!
//! Each page of a listing reads every record in the scopes that it covers. A listing that covers more than `max_scan`
//! records is refused, and the error names this option.
//!
//! A put uses memory for `part_concurrency` parts and two further parts. A listing uses memory for a page of keys and a
//! page of rows. A get uses only the buffer of its connection. Each request, and each chunk of a read, has
//! `request_timeout`.
//!
//! # Not done here
//! - There is no index for listings by time.
//! - Unfinished uploads in parts of killed processes are not swept, because `object_store` cannot list them. Azure
//!   discards uncommitted blocks after a week. In Google Cloud Storage, a lifecycle rule of the bucket must abort them.
//! - A sweep reads each record of the sessions that have data older than `upload_ttl`.
//! - The driver encrypts nothing, and sets no lifecycle and no versioning. These are settings of the bucket. If the
//!   bucket keeps versions or deleted objects, a delete does not remove the old ones.
//! - The driver does not defend against those who may write to the bucket.

mod claim;
mod client;
mod commit;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod config;
#[cfg(feature = "azure")]
mod credentials_azure;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod credentials_file;
#[cfg(feature = "gcs")]
mod credentials_gcs;
mod delete;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod driver;
mod error;
mod layout;
mod list;
mod lookup;
mod multipart;
mod open;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod options;
mod presign;
#[cfg(feature = "azure")]
mod presign_azure;
#[cfg(feature = "azure")]
mod presign_delegation;
#[cfg(feature = "gcs")]
mod presign_gcs;
mod probe;
mod put;
mod read;
mod record;
mod settings;
mod state;
mod store;
mod sweep;
mod temp_object;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod url;

#[cfg(feature = "azure")]
pub use config::{AzureConfig, AzurePresign};
#[cfg(feature = "gcs")]
pub use config::{GcsConfig, GcsPresign};
#[cfg(feature = "azure")]
pub use driver::AzureDriver;
#[cfg(feature = "gcs")]
pub use driver::GcsDriver;
pub use settings::{ConditionalCreate, ObjectStoreConfig};
pub use store::ObjectArtifactStore;
pub use sweep::SweepReport;
