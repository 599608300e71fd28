//! The `redb` driver: all artifacts in one [redb](https://www.redb.org) database, a file of a single process.
//!
//! # Layout
//! Each artifact is a blob with a number. Bytes are split into chunks of almost 256 KiB. The key of a chunk is the
//! number of its blob and its index, so a range reads only the chunks that it overlaps. The record is stored as JSON,
//! under the number of its blob. A second table finds the number by scope mark and id; the scope mark is the first 128
//! bits of the SHA-256 of the scope. Every read compares the scope and the id of the record with those requested.
//!
//! A third table is the index of listings. A row has five keys in it: one for all tenants, one for its tenant, its
//! user, its session and its exact scope. Each key ends in `Position::sort_key`, so a page is one scan, wherever it
//! begins.
//!
//! Blobs without a record are in the table `pending`: staged uploads, and artifacts that are being deleted.
//!
//! # Commit point
//! The commit of the transaction that inserts the record, which is synced to the disk. The last chunk is in the same
//! transaction. The chunks before it are staged, each in a transaction that is not synced: the sync of the record syncs
//! them too. A delete first removes the record and makes the blob pending in one synced transaction. Then the chunks
//! are deleted in short transactions.
//!
//! The chunks of a put that failed or was dropped are deleted by a background task. It deletes a blob only while it is
//! pending, so it never touches a committed artifact. What a killed process leaves in `pending` is deleted when the
//! store is opened. The numbers of blobs are never used twice while a store is open, so a reader of a deleted artifact
//! never finds the bytes of another.
//!
//! # Concurrency
//! redb has one write transaction at a time. Puts and deletes wait for it in a queue, without a thread. Reads use
//! snapshots and wait for nobody, 16 at a time. A stream reads each chunk in a transaction of its own, so nothing is
//! held while it is not polled. One process opens a database: redb locks the file.
//!
//! Memory: a put holds two chunks and the one that it collects, a stream one chunk, the database `cache_bytes`.
//!
//! # Flags and limits
//! `durable`: a put or delete returns after the sync. Not `shared`, because of the lock. Nothing is presigned. The
//! largest artifact has 1 TiB. A put is refused as `Unavailable` if the disk has less than 64 MiB of space: after a
//! failed write, redb serves nothing until it is opened again.
//!
//! # Not done here
//! - Puts do not share a sync, so many small puts are slow: each waits for the disk.
//! - A listing whose filter matches few artifacts reads the records of all artifacts in its scopes.
//! - After a kill, redb reads the whole file when it is opened again.
//! - The file does not shrink after deletes. redb uses its free pages again.
//! - The bytes are not compared with their SHA-256. The Gate, the wrapper around every driver, compares them.

mod audit;
mod config;
mod database;
mod delete;
mod driver;
mod error;
mod list;
mod open;
mod pending;
mod put;
mod read;
mod schema;
mod store;
mod sweep;

#[doc(hidden)]
pub use audit::audit_file;
pub use config::RedbConfig;
pub use driver::RedbDriver;
pub use store::RedbStore;
