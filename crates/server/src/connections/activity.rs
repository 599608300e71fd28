//! What a connection does, and which slots it counts against.

use crate::request_kind::RequestKind;

/// What a connection does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// Its first complete head has not arrived.
    FirstHead,
    /// Between two requests.
    Idle,
    /// A request was read and waits for a slot.
    Queued(RequestKind),
    Serving(RequestKind),
}

/// Which slots a connection counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConnectionClass {
    /// It has a slot of `server.max_connections`.
    Regular,
    /// It has a slot of the reserve.
    Reserved,
    /// Its request was refused. It is open only until the response is sent.
    Closing,
}
