//! Errors of the storage as errors of the contract, by code and never by text.

use artifact_store_core::StoreError;

/// The error of a verb that is not written yet.
pub(crate) fn unwritten(verb: &str, file: &str, task: &str) -> StoreError {
    StoreError::backend(format!("the verb `{verb}` is not written yet: in {file}, {task}"))
}
