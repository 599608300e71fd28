//! What the stores of one lying backend share: [`SharedState`].

use std::sync::Mutex;

use artifact_store_core::Record;

/// The state that all stores of one lying backend share.
#[derive(Debug, Default)]
pub(super) struct SharedState {
    /// The lines that the backend returns as residue.
    pub(super) residue: Mutex<Vec<String>>,
    /// With `Lie::RemembersHalf`, the records of all puts. A store without rows lists these records, although their
    /// bytes do not exist.
    pub(super) records: Mutex<Vec<Record>>,
}
