//! The limits on event streams that can refuse a subscriber: [`ReachedLimit`].

/// The limit that refuses a subscriber. The number is the maximum number of open subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReachedLimit {
    Session(usize),
    User(usize),
    Tenant(usize),
    Total,
}
