//! The policy between callers and an artifact store, without HTTP: authorization, limits, codes and events.
//!
//! A [`Resolver`] wraps a store and has one call for each method of the protocol. The store should be behind the gate,
//! the wrapper that checks what holds for every driver. Each call takes a [`Caller`], an identity that has already been
//! verified. The resolver:
//!
//! - decides who may do what, by the table in its module `policy`;
//! - enforces `max_request_bytes` and `max_upload_bytes` while bytes arrive;
//! - answers `presign_unsupported` if the store does not presign;
//! - answers every read of another tenant's content with `not_found`, whether the artifact exists or not;
//! - passes puts and uploads to an [`Inspector`];
//! - publishes an event for each new artifact, each delete, and each use of `admin` or `console:fleet` in another
//!   tenant.
//!
//! A refused call returns a [`Refusal`]: a code, a safe message, and a cause for the log.
//!
//! This crate decides by the trait and the flags of the store, never by the name of its driver. It must never know
//! HTTP.

mod bus;
mod caller;
mod health;
mod inspect;
mod options;
mod policy;
mod refusal;
mod resolver;
mod subscriber_limit;

pub use bus::{Delivery, Event, EventCounts, Subscription};
pub use caller::Caller;
pub use inspect::{Inspection, Inspector, Rejection, Upload};
pub use options::{ResolverOptions, RuntimeDescription};
pub use refusal::Refusal;
pub use resolver::{DownloadResult, Resolver, SubscribeOptions, UploadResult};
