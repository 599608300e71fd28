//! What the drivers share that store artifacts as objects, such as `s3` and `gcs`: [`Chunks`] of a body, [`lock_key`],
//! background tasks ([`TaskTracker`]), the page of a scan ([`PageCollector`]), and the rules for the address of a storage
//! ([`AddressRule`]) and for the prefix of keys ([`check_prefix`]).
//!
//! This crate must never know a storage, and never send a request.

mod address;
mod chunks;
mod key_locks;
mod page_collector;
mod tasks;

pub use address::{AddressError, AddressRule, check_prefix};
pub use chunks::Chunks;
pub use key_locks::{KeyLockGuard, lock_key};
pub use page_collector::PageCollector;
pub use tasks::TaskTracker;
