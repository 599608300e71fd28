//! The components of the OpenAPI document: the schemas of bodies and headers. This module must never know a route.

use artifact_store_protocol::{
    DeleteRequest, DeleteResponse, DriversResponse, Envelope, EventData, EventKind, GetRefRequest,
    GetRefResponse, GetRequest, GetResponse, HealthResponse, InfoResponse, ListRequest, ListResponse,
    PROTOCOL_VERSION, PutRequest, PutResponse, RuntimeRequest,
};
use serde_json::{Value, json};
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{ComponentsBuilder, KnownFormat, Schema, SchemaFormat, Type};
use utoipa::openapi::{HeaderBuilder, ObjectBuilder, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::event_stream::{GAP, KEEP_ALIVE, RETRY, TOKEN_EXPIRED, TOO_SLOW};
use crate::liveness::Liveness;
use crate::routes::{RequestField, ValueType};
use crate::server_description::ServerDescription;

/// The name of the component for the header `X-Request-Id`, which every response has.
pub(super) const REQUEST_ID: &str = "RequestId";
/// The name of the schema of one event in the stream.
const EVENT_FRAME: &str = "EventFrame";
/// The media type of the event stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Returns the schemas that the operations refer to.
pub(super) fn components() -> ComponentsBuilder {
    let mut schemas = Vec::new();
    add_schema::<Envelope>(&mut schemas);
    add_schema::<PutRequest>(&mut schemas);
    add_schema::<PutResponse>(&mut schemas);
    add_schema::<GetRequest>(&mut schemas);
    add_schema::<GetResponse>(&mut schemas);
    add_schema::<GetRefRequest>(&mut schemas);
    add_schema::<GetRefResponse>(&mut schemas);
    add_schema::<ListRequest>(&mut schemas);
    add_schema::<ListResponse>(&mut schemas);
    add_schema::<DeleteRequest>(&mut schemas);
    add_schema::<DeleteResponse>(&mut schemas);
    add_schema::<RuntimeRequest>(&mut schemas);
    add_schema::<InfoResponse>(&mut schemas);
    add_schema::<HealthResponse>(&mut schemas);
    add_schema::<DriversResponse>(&mut schemas);
    add_schema::<EventData>(&mut schemas);
    add_schema::<Liveness>(&mut schemas);
    add_schema::<ServerDescription>(&mut schemas);
    // The pattern allows visible ASCII characters without quotes.
    let request_id = HeaderBuilder::new()
        .schema(Some(string_schema().pattern(Some("^[!#-&(-~]{1,128}$"))))
        .description(Some("The request's id, under which the server's log tells the cause of a failure: that of the request's own `X-Request-Id` if it has 1 to 128 visible ASCII characters without quotes."));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .schema(EVENT_FRAME, frame_schema())
        .header(REQUEST_ID, request_id.build())
}

/// Adds the schema of `T` and the schemas of the types that it contains.
fn add_schema<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

/// Adds to the document what the types of `utoipa` cannot express: a required header, and a constant value.
pub(super) fn amend(document: &mut Value) {
    document["components"]["headers"][REQUEST_ID]["required"] = json!(true);
    let schemas = document["components"]["schemas"].as_object_mut();
    for schema in schemas.into_iter().flat_map(serde_json::Map::values_mut) {
        if let Some(version) = schema.pointer_mut("/properties/protocol_version") {
            version["const"] = json!(PROTOCOL_VERSION);
        }
    }
}

/// Returns a reference to the schema of `T`.
pub(super) fn schema_ref<T: ToSchema>() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(T::name()))
}

/// The schema of one event in the stream.
fn frame_schema() -> Schema {
    let data = string_schema()
        .content_media_type("application/json")
        .content_schema(Some(schema_ref::<EventData>()))
        .description(Some("The event as JSON, on one line."));
    let description = format!(
        "One event of the stream, with its lines as members. The stream begins with `retry: {}`. If there are no events, a comment \
         every {} seconds keeps it alive. The comment `{GAP}` means that events were lost at this point. A stream that was read too \
         slowly ends with `{TOO_SLOW}`, and one whose token is no longer valid with `{TOKEN_EXPIRED}`.",
        RETRY.as_millis(),
        KEEP_ALIVE.as_secs(),
    );
    let id = string_schema().description(Some("The position in the stream, for the header `last-event-id`."));
    ObjectBuilder::new()
        .property("id", id)
        .required("id")
        .property("event", EventKind::schema())
        .required("event")
        .property("data", data)
        .required("data")
        .description(Some(description))
        .build()
        .into()
}

/// The schema of bytes of any kind.
pub(super) fn bytes_schema() -> Schema {
    string_schema().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into()
}

/// The schema of the event stream. The format is binary, so that a generated client streams the body. If the format
/// were text, the client would wait for the end of the body, but the stream does not end.
pub(super) fn stream_schema() -> Schema {
    string_schema()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
        .content_media_type(EVENT_STREAM)
        .content_schema(Some(RefOr::Ref(Ref::from_schema_name(EVENT_FRAME))))
        .into()
}

/// Returns the schema of a field's value.
pub(super) fn field_schema(field: &RequestField, location: &ParameterIn) -> Schema {
    if field.is_repeatable && is_header(location) {
        return list_schema(field).into();
    }
    let value_schema = match field.value_type {
        ValueType::Text => string_schema(),
        ValueType::ScopePart => {
            // The pattern excludes control characters.
            string_schema().max_length(Some(256)).pattern(Some("^[^\\x00-\\x1f\\x7f-\\x9f]*$"))
        }
        ValueType::Namespace => string_schema().pattern(Some("^(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?$")),
        ValueType::OneOf(words) => string_schema().enum_values(Some(words.iter().copied())),
        ValueType::Digests => {
            // The base64 of 32 bytes has 43 digits. The last digit has only 4 bits, so only 16 digits are possible.
            string_schema().pattern(Some("^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$"))
        }
    };
    if field.is_repeatable {
        return utoipa::openapi::schema::Array::new(value_schema).into();
    }
    value_schema.into()
}

/// Returns the description of a field. For a repeatable header, the description also says how several values are
/// written, because the schema does not say this.
pub(super) fn field_description(field: &RequestField, location: &ParameterIn) -> String {
    if !(field.is_repeatable && is_header(location)) {
        return field.description.to_owned();
    }
    let several = format!("{} Several are separated by commas.", field.description);
    match field.value_type {
        ValueType::OneOf(words) => format!("{several} It takes `{}`.", words.join("`, `")),
        _ => several,
    }
}

/// The schema of a header with several values. In HTTP, the values are one string, separated by commas. The schema is a
/// string too, because some client generators do not accept an array in a header.
fn list_schema(field: &RequestField) -> ObjectBuilder {
    let ValueType::OneOf(words) = field.value_type else { return string_schema() };
    // The pattern is one word, followed by any number of further words after commas.
    let word = format!("(?:{})", words.join("|").replace('.', "\\."));
    string_schema().pattern(Some(format!("^{word}(?:[ \\t]*,[ \\t]*{word})*$")))
}

fn is_header(location: &ParameterIn) -> bool {
    matches!(location, ParameterIn::Header)
}

fn string_schema() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
