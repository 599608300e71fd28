//! The JSON schemas of the types of core, for the OpenAPI document.
//!
//! Core must not know the wire format, so the schemas of its types are here. The types in this module only describe
//! schemas. Requests and responses contain the types of core instead. A test validates real responses against all
//! schemas.
#![allow(dead_code)] // The types are never constructed.

use artifact_store_core::{Flag, Source};
use serde::Serialize;
use utoipa::openapi::schema::{AdditionalProperties, AnyOf, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::code::Code;
use crate::limits::{MAX_EXPIRY_NANOS, MIN_EXPIRY_NANOS};

/// The reference to an artifact. It is small and grants no access.
#[derive(Serialize, ToSchema)]
pub(crate) struct ArtifactRef {
    /// The artifact's id: its namespace, `_`, and the first 32 digits of its SHA-256.
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}_[0-9a-f]{32}$")]
    id: String,
    /// Its media type; absent if it has none.
    #[schema(value_type = String, required = false)]
    mime_type: Option<String>,
    /// Its size in bytes.
    size_bytes: u64,
    /// Its file name; absent if it has none.
    #[schema(value_type = String, required = false)]
    filename: Option<String>,
    /// The SHA-256 of its bytes, in hex.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
    /// Its namespace.
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
    namespace: String,
    /// The scope of the artifact.
    scope: Scope,
}

/// The scope of an artifact or a caller. Each part has 1 to 256 bytes without control characters.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scope {
    /// The tenant.
    tenant: String,
    /// The user of the tenant.
    user: String,
    /// The session of the user.
    session: String,
    /// The task of the session; absent if there is none.
    #[schema(value_type = String, required = false)]
    task: Option<String>,
}

/// The schema of a timestamp (RFC 3339).
pub(crate) struct Moment;

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("A time in the format of RFC 3339."))
            .into()
    }
}

impl ToSchema for Moment {}

/// The schema of bytes, which JSON contains as base64.
pub(crate) struct Base64;

impl PartialSchema for Base64 {
    fn schema() -> RefOr<Schema> {
        let pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
        ObjectBuilder::new()
            .schema_type(Type::String)
            .content_encoding("base64")
            .pattern(Some(pattern))
            .description(Some(
                "Bytes in base64 with padding (RFC 4648 §4). The unused bits of the last digit are zero.",
            ))
            .into()
    }
}

impl ToSchema for Base64 {}

/// The schema of a string that must be one of `values`.
pub(crate) fn string_enum<'a>(values: impl Iterator<Item = &'a str>, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(values.collect::<Vec<_>>()))
        .description(Some(description))
        .into()
}

/// The schema of a source.
pub(crate) struct SourceSchema;

impl PartialSchema for SourceSchema {
    fn schema() -> RefOr<Schema> {
        string_enum(Source::ALL.iter().map(|source| source.as_str()), "Where an artifact came from.")
    }
}

impl ToSchema for SourceSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "Source".into()
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        string_enum(
            Self::ALL.iter().map(|code| code.as_str()),
            "The code of an error, on which a client branches.",
        )
    }
}

impl ToSchema for Code {}

/// The schema of the capabilities of a store.
pub(crate) struct CapabilitiesSchema;

impl PartialSchema for CapabilitiesSchema {
    fn schema() -> RefOr<Schema> {
        let number = |description: &str| {
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some(description))
        };
        let mut object = ObjectBuilder::new().description(Some("The capabilities of a store."));
        for flag in Flag::ALL {
            let property =
                ObjectBuilder::new().schema_type(Type::Boolean).description(Some(flag.description()));
            object = object.property(flag.as_str(), property).required(flag.as_str());
        }
        object
            .property(
                "max_artifact_bytes",
                number("The largest artifact, in bytes; absent if the store has no limit."),
            )
            .property(
                "max_presign_expiry_seconds",
                number("The longest expiry of a presigned URL, in seconds; absent if the store does not presign."),
            )
            .into()
    }
}

impl ToSchema for CapabilitiesSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "Capabilities".into()
    }
}

/// The schema of the expiry of a presigned URL.
pub(crate) fn expiry_schema() -> Schema {
    // The schema of an integer between `from` and `to`, both included.
    let range = |from, to| {
        let number = ObjectBuilder::new().schema_type(Type::Integer);
        number
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(from))
            .maximum(Some(to))
    };
    let description =
        "How long the URL is valid, in nanoseconds: 1 minute to 7 days; absent, null or 0: 15 minutes.";
    AnyOf::builder()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(range(0_u64, 0_u64))
        .item(range(MIN_EXPIRY_NANOS, MAX_EXPIRY_NANOS))
        .description(Some(description))
        .build()
        .into()
}

/// The schema of the custom metadata in a request: any JSON object, or null.
pub(crate) fn any_object_or_null() -> Schema {
    let description = "Custom metadata, within the limits of a control payload: 6 nested containers, 64 members in an \
                       object, 50 items in a list, 4096 characters in a string.";
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some(description))
        .build()
        .into()
}

/// The schema of the custom metadata in a response: any JSON object.
pub(crate) fn any_object() -> Schema {
    ObjectBuilder::new()
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some("The custom metadata of the artifact; absent if there is none."))
        .build()
        .into()
}
