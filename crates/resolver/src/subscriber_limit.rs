//! The limits on event streams that can refuse a subscriber: [`ReachedLimit`].

/// The limit because of which a subscriber is refused. The number is the limit: the most subscriptions that may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReachedLimit {
    Session(usize),
    User(usize),
    Tenant(usize),
    Total,
}
