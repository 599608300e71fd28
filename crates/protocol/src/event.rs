//! What the event stream tells: [`EventKind`] and the [`EventData`] of each. Metadata only, never bytes.

use std::borrow::Cow;
use std::fmt;

use artifact_store_core::{ArtifactId, ArtifactRef, Scope, Source, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

use crate::schema;

macro_rules! events {
    ($($name:ident = $word:literal, $sentence:literal;)+) => {
        /// A type of events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind {
            $(#[doc = $sentence] $name,)+
        }

        impl EventKind {
            /// Every type.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name,)+];

            /// The type's word on the wire.
            pub const fn word(self) -> &'static str {
                match self { $(EventKind::$name => $word,)+ }
            }

            /// What it tells, in one sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(EventKind::$name => $sentence,)+ }
            }

            /// The type called `word`; `None` where there is none.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.word() == word)
            }
        }
    };
}

events! {
    ArtifactsUploaded = "artifacts.uploaded", "An artifact was stored that did not stand before.";
    ArtifactsDeleted = "artifacts.deleted", "An artifact was removed.";
    AuditAdminScopeUsed = "audit.admin_scope_used", "A caller used admin or console:fleet to reach beyond its own tenant.";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        Self::from_word(&word)
            .ok_or_else(|| de::Error::custom("this is no type of events that is known here"))
    }
}

/// The JSON of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Read")]
pub struct EventData {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it happened.
    #[schema(value_type = schema::Moment)]
    pub occurred_at: Timestamp,
    /// Whose it is: the artifact's scope; for an audit event the caller's own.
    #[schema(value_type = schema::Scope)]
    pub scope: Scope,
    /// What happened.
    pub payload: EventPayload,
}

/// An event as it is read, before its payload is known to be one of its type.
#[derive(Deserialize)]
struct Read {
    #[serde(rename = "type")]
    kind: EventKind,
    occurred_at: Timestamp,
    scope: Scope,
    payload: EventPayload,
}

impl TryFrom<Read> for EventData {
    type Error = &'static str;

    fn try_from(Read { kind, occurred_at, scope, payload }: Read) -> Result<Self, Self::Error> {
        if payload.kind() != kind {
            return Err("the payload is none of the event's type");
        }
        Ok(Self { kind, occurred_at, scope, payload })
    }
}

/// What an event tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EventPayload {
    /// Of `artifacts.uploaded`.
    Uploaded {
        /// The artifact's ref.
        #[serde(rename = "ref")]
        #[schema(value_type = schema::ArtifactRef)]
        artifact: ArtifactRef,
        /// Its tags.
        tags: Vec<String>,
        /// Where it came from.
        #[schema(value_type = schema::SourceWord)]
        source: Source,
        /// When the store accepted it.
        #[schema(value_type = schema::Moment)]
        created_at: Timestamp,
    },
    /// Of `artifacts.deleted`.
    Deleted {
        /// The artifact's id.
        #[schema(value_type = String)]
        id: ArtifactId,
    },
    /// Of `audit.admin_scope_used`.
    AdminScopeUsed {
        /// The method, or `events.subscribe`.
        #[schema(value_type = String)]
        method: Cow<'static, str>,
        /// The scope that was used: `admin` or `console:fleet`.
        #[schema(value_type = String)]
        admin_scope: Cow<'static, str>,
        /// The tenant that was reached; absent: all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = String, required = false)]
        target_tenant: Option<String>,
        /// The user that was reached; absent: any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = String, required = false)]
        target_user: Option<String>,
        /// The session that was reached; absent: any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = String, required = false)]
        target_session: Option<String>,
    },
}

impl EventPayload {
    /// The type of events that carry it.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Uploaded { .. } => EventKind::ArtifactsUploaded,
            Self::Deleted { .. } => EventKind::ArtifactsDeleted,
            Self::AdminScopeUsed { .. } => EventKind::AuditAdminScopeUsed,
        }
    }
}
