//! The events of the event stream: [`EventKind`] and [`EventData`]. Events contain metadata only, never bytes of
//! artifacts.

use std::borrow::Cow;
use std::fmt;

use artifact_store_core::{ArtifactId, ArtifactRef, Scope, Source, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::schema;

macro_rules! events {
    ($($name:ident = $wire_name:literal, $description:literal;)+) => {
        /// The type of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind {
            $(#[doc = $description] $name,)+
        }

        impl EventKind {
            /// Every type.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name,)+];

            /// The name of the type on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(EventKind::$name => $wire_name,)+ }
            }

            /// A description of the type, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $(EventKind::$name => $description,)+ }
            }

            /// The type with this name; `None` if there is none.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
            }
        }
    };
}

events! {
    ArtifactsUploaded = "artifacts.uploaded", "An artifact was stored that did not exist before.";
    ArtifactsDeleted = "artifacts.deleted", "An artifact was deleted.";
    AuditAdminScopeUsed = "audit.admin_scope_used", "A caller used admin or console:fleet to access another tenant.";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| de::Error::custom("not a known type of event"))
    }
}

/// The JSON of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "RawEventData")]
pub struct EventData {
    /// The type of the event.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When the event happened.
    #[schema(value_type = schema::Moment)]
    pub occurred_at: Timestamp,
    /// The scope of the artifact. For an audit event, the session of the caller.
    #[schema(value_type = schema::Scope)]
    pub scope: Scope,
    /// The data of the event. Its members depend on the type.
    pub payload: EventPayload,
}

/// A deserialized event, before the check that its payload belongs to its type.
#[derive(Deserialize)]
struct RawEventData {
    #[serde(rename = "type")]
    kind: EventKind,
    occurred_at: Timestamp,
    scope: Scope,
    payload: EventPayload,
}

impl TryFrom<RawEventData> for EventData {
    type Error = &'static str;

    fn try_from(
        RawEventData { kind, occurred_at, scope, payload }: RawEventData,
    ) -> Result<Self, Self::Error> {
        if payload.kind() != kind {
            return Err("the payload does not match the type of the event");
        }
        Ok(Self { kind, occurred_at, scope, payload })
    }
}

/// The data of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EventPayload {
    /// The data of `artifacts.uploaded`.
    Uploaded {
        /// The artifact's ref.
        #[serde(rename = "ref")]
        #[schema(value_type = schema::ArtifactRef)]
        artifact: ArtifactRef,
        /// The tags of the artifact.
        tags: Vec<String>,
        /// Where the artifact came from.
        #[schema(value_type = schema::SourceSchema)]
        source: Source,
        /// When the store created the artifact.
        #[schema(value_type = schema::Moment)]
        created_at: Timestamp,
    },
    /// The data of `artifacts.deleted`.
    Deleted {
        /// The artifact's id.
        #[schema(value_type = String)]
        id: ArtifactId,
    },
    /// The data of `audit.admin_scope_used`.
    AdminScopeUsed {
        /// The method that the caller used, or `events.subscribe`.
        #[schema(value_type = String)]
        method: Cow<'static, str>,
        /// The token scope that allowed the access: `admin` or `console:fleet`.
        #[schema(value_type = String)]
        admin_scope: Cow<'static, str>,
        /// The tenant that the caller accessed; absent: all tenants.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = String, required = false)]
        target_tenant: Option<String>,
        /// The user that the caller accessed; absent: any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = String, required = false)]
        target_user: Option<String>,
        /// The session that the caller accessed; absent: any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = String, required = false)]
        target_session: Option<String>,
    },
}

impl EventPayload {
    /// The type of the event that has this payload.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Uploaded { .. } => EventKind::ArtifactsUploaded,
            Self::Deleted { .. } => EventKind::ArtifactsDeleted,
            Self::AdminScopeUsed { .. } => EventKind::AuditAdminScopeUsed,
        }
    }
}

impl PartialSchema for EventKind {
    fn schema() -> RefOr<Schema> {
        schema::string_enum(Self::ALL.iter().map(|kind| kind.as_str()), "The type of an event.")
    }
}

impl ToSchema for EventKind {}
