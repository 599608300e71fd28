//! The shapes of core's types in JSON, as the OpenAPI document describes them.
//!
//! Core knows no wire, so its types are described here, beside those of this crate that describe themselves. A test of the wire
//! holds real answers against all of it. Nothing here is ever serialized.
#![allow(dead_code)] // Shapes, not values.

use artifact_store_core::{Flag, Source};
use serde::Serialize;
use utoipa::openapi::schema::{AdditionalProperties, AnyOf, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::code::Code;
use crate::event::EventKind;
use crate::requests::{MAX_EXPIRY_NANOS, MIN_EXPIRY_NANOS};

/// The reference to an artifact: small, and a name rather than a key.
#[derive(Serialize, ToSchema)]
pub(crate) struct ArtifactRef {
    /// The artifact's id: its namespace, `_`, and the first 32 digits of its SHA-256.
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}_[0-9a-f]{32}$")]
    id: String,
    /// Its media type, where one was given.
    #[schema(value_type = String, required = false)]
    mime_type: Option<String>,
    /// Its size in bytes.
    size_bytes: u64,
    /// Its name for people, where one was given.
    #[schema(value_type = String, required = false)]
    filename: Option<String>,
    /// The SHA-256 of its bytes, in hex.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
    /// Its namespace.
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
    namespace: String,
    /// The scope it belongs to.
    scope: Scope,
}

/// Where something belongs. Each part has 1 to 256 bytes without control characters.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scope {
    /// The tenant.
    tenant: String,
    /// The user within it.
    user: String,
    /// The session of that user.
    session: String,
    /// The task within the session, where there is one.
    #[schema(value_type = String, required = false)]
    task: Option<String>,
}

/// A moment, as RFC 3339.
pub(crate) struct Moment;

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("A moment, as RFC 3339 writes it."))
            .into()
    }
}

impl ToSchema for Moment {}

/// Bytes in JSON.
pub(crate) struct Base64;

impl PartialSchema for Base64 {
    fn schema() -> RefOr<Schema> {
        let digits = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
        ObjectBuilder::new()
            .schema_type(Type::String)
            .content_encoding("base64")
            .pattern(Some(digits))
            .description(Some(
                "Bytes in base64 with padding (RFC 4648 §4), the unused bits of the last digit being zero.",
            ))
            .into()
    }
}

impl ToSchema for Base64 {}

fn words<'a>(words: impl Iterator<Item = &'a str>, about: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.collect::<Vec<_>>()))
        .description(Some(about))
        .into()
}

/// Where an artifact came from.
pub(crate) struct SourceWord;

impl PartialSchema for SourceWord {
    fn schema() -> RefOr<Schema> {
        words(Source::ALL.iter().map(|source| source.word()), "Where an artifact came from.")
    }
}

impl ToSchema for SourceWord {
    fn name() -> std::borrow::Cow<'static, str> {
        "Source".into()
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        words(Self::ALL.iter().map(|code| code.word()), "What a client branches on.")
    }
}

impl ToSchema for Code {}

impl PartialSchema for EventKind {
    fn schema() -> RefOr<Schema> {
        words(Self::ALL.iter().map(|kind| kind.word()), "A type of events.")
    }
}

impl ToSchema for EventKind {}

/// The flags and numbers of a store.
pub(crate) struct Promises;

impl PartialSchema for Promises {
    fn schema() -> RefOr<Schema> {
        let number = |about: &str| {
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some(about))
        };
        let mut object = ObjectBuilder::new().description(Some("What a store promises."));
        for flag in Flag::ALL {
            let sentence = ObjectBuilder::new().schema_type(Type::Boolean).description(Some(flag.sentence()));
            object = object.property(flag.word(), sentence).required(flag.word());
        }
        object
            .property(
                "max_artifact_bytes",
                number("The largest artifact, in bytes; absent where the store sets no bound."),
            )
            .property(
                "max_presign_expiry_seconds",
                number("The longest life of a presigned URL; absent where nothing can be presigned."),
            )
            .into()
    }
}

impl ToSchema for Promises {
    fn name() -> std::borrow::Cow<'static, str> {
        "Capabilities".into()
    }
}

/// How long a presigned URL shall live.
pub(crate) fn expiry() -> Schema {
    let nanos = |from, to| {
        let number = ObjectBuilder::new().schema_type(Type::Integer);
        number
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(from))
            .maximum(Some(to))
    };
    let about =
        "How long the URL shall live, in nanoseconds: 1 minute to 7 days; absent, null or 0: 15 minutes.";
    AnyOf::builder()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(nanos(0_u64, 0_u64))
        .item(nanos(MIN_EXPIRY_NANOS, MAX_EXPIRY_NANOS))
        .description(Some(about))
        .build()
        .into()
}

/// A JSON object of anything, or null.
pub(crate) fn free_object_or_null() -> Schema {
    let about = "Anything else, within the bounds of a control payload: 6 containers within each other, 64 members, 50 items, \
                 4096 characters.";
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some(about))
        .build()
        .into()
}

/// A JSON object of anything.
pub(crate) fn free_object() -> Schema {
    ObjectBuilder::new()
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some("What else its first writer said of it; absent where nothing."))
        .build()
        .into()
}
