//! The arguments that name the scope and the artifact of a command. This module must never know a store.

use artifact_store::{ArtifactId, Scope, ScopePart, StoreError};

use super::error::CommandError;

/// The one scope that a command works in.
#[derive(Debug, clap::Args)]
pub(super) struct ScopeArgs {
    /// The tenant
    #[arg(long, value_parser = parse_scope_part, help_heading = "Scope")]
    tenant: ScopePart,
    /// The user within the tenant
    #[arg(long, value_parser = parse_scope_part, help_heading = "Scope")]
    user: ScopePart,
    /// The session of the user
    #[arg(long, value_parser = parse_scope_part, help_heading = "Scope")]
    session: ScopePart,
    /// The task within the session; without it, the artifacts that belong to no task
    #[arg(long, value_parser = parse_scope_part, help_heading = "Scope")]
    task: Option<ScopePart>,
}

impl ScopeArgs {
    pub(super) fn scope(&self) -> Scope {
        let Self { tenant, user, session, task } = self;
        Scope::from_parts(tenant.clone(), user.clone(), session.clone(), task.clone())
    }
}

/// Parses a part of a scope.
pub(super) fn parse_scope_part(text: &str) -> Result<ScopePart, StoreError> {
    ScopePart::new(text)
}

/// Parses the id of an artifact. A text that is not an id gives the same error as an artifact that does not exist.
pub(super) fn parse_artifact_id(text: &str) -> Result<ArtifactId, CommandError> {
    text.parse().map_err(|_| artifact_not_found())
}

pub(super) fn artifact_not_found() -> CommandError {
    CommandError::not_found("there is no such artifact in this scope")
}
