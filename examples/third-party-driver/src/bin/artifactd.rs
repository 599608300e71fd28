//! The program `artifactd` with the driver redb, beside the drivers of the build.

use std::process::ExitCode;
use std::sync::Arc;

use artifact_store_core::StoreError;
use artifact_store_redb::RedbDriver;

fn main() -> Result<ExitCode, StoreError> {
    let mut registry = artifactd::drivers()?;
    registry.register(Arc::new(RedbDriver))?;
    Ok(artifactd::run(&registry))
}
