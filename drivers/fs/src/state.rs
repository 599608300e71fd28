//! The state of an open store: [`StoreState`], and [`open_artifact`]. This module must never start a task.

use std::fs::File;
use std::sync::Arc;

use crate::config::SyncPolicy;
use crate::dirs::ScopeDirs;
use crate::error::map_io_error;
use crate::layout::{ArtifactKey, read_record};
use crate::root::Root;
use artifact_store_core::{ArtifactId, Clock, Record, Scope, StoreError};

/// The state that the tasks of a store share.
#[derive(Debug)]
pub(crate) struct StoreState {
    pub(crate) root: Root,
    pub(crate) dirs: ScopeDirs,
    pub(crate) sync: SyncPolicy,
    pub(crate) clock: Arc<dyn Clock>,
    /// The maximum number of files that one listing reads.
    pub(crate) max_scan: u64,
}

/// Opens the file of an artifact below `dirs` and reads its record. Returns `None` if the artifact does not exist.
///
/// # Errors
/// `Corrupt` if the file is not a whole artifact, or if its record has another scope or id; `Unavailable`, `Backend`.
pub(crate) fn open_artifact(
    dirs: &ScopeDirs,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<(Record, File)>, StoreError> {
    let key = ArtifactKey::new(scope, id);
    let opened =
        dirs.open_artifact(&key).map_err(|error| map_io_error(format_args!("opening {key}"), error))?;
    let Some(file) = opened else { return Ok(None) };
    let record = read_record(&file, &key, &mut Vec::new())?;
    // The path identifies the scope and the id only by hashes. The record contains the scope and the id themselves, so
    // they are compared here.
    if record.scope != *scope {
        return Err(StoreError::corrupt(format!("{key}: this artifact is of another scope")));
    }
    if record.id != *id {
        return Err(StoreError::corrupt(format!("{key}: this artifact has another id")));
    }
    Ok(Some((record, file)))
}
