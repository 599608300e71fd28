//! The scope in a request: [`RequestScope`], whose parts may be empty. This module must never know what an empty part
//! means, or which parts a caller may name: that is policy.

use artifact_store_core::{Scope, ScopePart};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::decode::null_as_default;
use crate::envelope::Envelope;

/// `{tenant, user, session, task?}` of a request. A part that is absent, null or `""` is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestScope {
    /// The tenant, or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub tenant: String,
    /// The user of the tenant, or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub user: String,
    /// The session of the user, or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub session: String,
    /// The task of the session, or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub task: String,
}

/// The parts of a [`RequestScope`], checked by [`RequestScope::parts`]. An empty part is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeParts {
    /// The tenant.
    pub tenant: Option<ScopePart>,
    /// The user.
    pub user: Option<ScopePart>,
    /// The session.
    pub session: Option<ScopePart>,
    /// The task.
    pub task: Option<ScopePart>,
}

impl RequestScope {
    /// Checks the parts that are not empty, and returns all parts.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) if a part is longer than 256 bytes or contains a control
    /// character. The message names the part.
    pub fn parts(&self) -> Result<ScopeParts, Envelope> {
        Ok(ScopeParts {
            tenant: parse_part("tenant", &self.tenant)?,
            user: parse_part("user", &self.user)?,
            session: parse_part("session", &self.session)?,
            task: parse_part("task", &self.task)?,
        })
    }

    /// A scope with a task only, for routes that name no other part.
    pub fn of_task(task: impl Into<String>) -> Self {
        Self { task: task.into(), ..Self::default() }
    }
}

/// Parses the part `name` of a scope; `None` if `text` is empty.
fn parse_part(name: &str, text: &str) -> Result<Option<ScopePart>, Envelope> {
    if text.is_empty() {
        return Ok(None);
    }
    let part = ScopePart::new(text).map_err(|_| {
        Envelope::invalid(format!(
            "the member `scope.{name}` is not legal; it takes 1 to 256 bytes without control characters"
        ))
    })?;
    Ok(Some(part))
}

impl From<&Scope> for RequestScope {
    fn from(scope: &Scope) -> Self {
        Self {
            tenant: scope.tenant().as_str().to_owned(),
            user: scope.user().as_str().to_owned(),
            session: scope.session().as_str().to_owned(),
            task: scope.task().map(ScopePart::as_str).unwrap_or_default().to_owned(),
        }
    }
}
