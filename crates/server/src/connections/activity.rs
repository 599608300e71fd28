//! What a connection does, and which kind of slot it occupies.

use crate::request_kind::RequestKind;

/// What a connection does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// The first complete head has not arrived.
    AwaitingFirstHead,
    /// Between two requests.
    Idle,
    /// A request was read and waits for a slot.
    Queued(RequestKind),
    /// A request is being served.
    Serving(RequestKind),
}

/// Which kind of slot a connection occupies, if it occupies a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConnectionClass {
    /// The connection has one of the `server.max_connections` slots.
    Regular,
    /// The connection has one of the `server.reserved_connections` slots.
    Reserved,
    /// The connection has no slot, because its queued request was refused. It is open only until the response is sent.
    Closing,
}
