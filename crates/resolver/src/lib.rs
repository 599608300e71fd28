//! The policy between callers and an artifact store, without HTTP: authorization, limits, codes and events.
//!
//! A [`Resolver`] wraps a store behind its Gate and has one call for each method of the protocol. Each call takes a
//! [`Caller`], an identity that has already been verified. The resolver:
//!
//! - decides by the table of scopes who may do what;
//! - enforces `max_request_bytes` and `max_upload_bytes` while bytes arrive;
//! - answers `presign_unsupported` if the store does not presign;
//! - hides foreign artifacts as `not_found`;
//! - passes uploads to an [`Inspector`];
//! - publishes an event for each upload, each delete and each use of admin rights in another tenant.
//!
//! A refused call returns a [`Refusal`]: a code, a safe message, and a cause for the log.
//!
//! This crate knows the store by its trait and flags, never by its driver's name, and it must never know HTTP.

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
