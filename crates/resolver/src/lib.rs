//! Who may do what with artifacts: the policy between callers and a store, without HTTP.
//!
//! A [`Resolver`] holds a store behind its Gate and has one call for each method of the protocol. Whoever speaks to it brings a
//! [`Caller`], an identity that somebody has verified. The resolver decides by the table of scopes, enforces
//! `max_request_bytes` while bytes flow, answers `presign_unsupported` where the store does not presign, hides what is
//! foreign as `not_found`, shows uploads to an [`Inspector`], and tells its event bus of uploads, deletes and uses of admin
//! rights. What it refuses is a [`Refusal`]: a code, a safe message, and a cause for the log.
//!
//! It knows the store by its trait and flags, never by its driver's name, and it knows no HTTP.

mod bus;
mod caller;
mod health;
mod inspect;
mod policy;
mod refusal;
mod resolver;

pub use bus::{Delivery, Event, EventCounts, Subscription};
pub use caller::Caller;
pub use inspect::{Inspection, Inspector, Rejection, Upload};
pub use refusal::Refusal;
pub use resolver::{Download, Resolver, ResolverOptions, RuntimeDescription, Subscribe, Uploaded};
