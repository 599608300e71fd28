//! Constants of the event stream. The handler uses them, and the documentation shows them.

use std::time::Duration;

/// How long a client should wait before it reconnects.
pub const RETRY: Duration = Duration::from_secs(3);
/// How often a comment is sent on a stream without events.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The comment that is sent when events were lost.
pub const GAP: &str = "stream.replay_unavailable";
/// The last comment to a subscriber that reads too slowly.
pub const TOO_SLOW: &str = "stream.subscriber_too_slow";
/// The last comment on a stream whose token is no longer valid: the token has expired, or its key was removed.
pub const TOKEN_EXPIRED: &str = "stream.token_expired";
