//! What the stores of one lying backend share: [`SharedState`].

use std::sync::Mutex;

use artifact_store_core::Record;

/// The state that all stores of one lying backend share.
#[derive(Debug, Default)]
pub(super) struct SharedState {
    pub(super) residue: Mutex<Vec<String>>,
    /// The records that the stores of this backend list after a new open.
    pub(super) records: Mutex<Vec<Record>>,
}
