//! The components of the document: the shapes of bodies and headers. It must never know a route.

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

use crate::http::{Alive, Field, GAP, KEEP_ALIVE, RETRY, TOKEN_EXPIRED, TOO_SLOW, Takes};

/// The header that every answer has.
pub(super) const REQUEST_ID: &str = "RequestId";
/// One event of the stream.
const FRAME: &str = "EventFrame";
/// The media type of the stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// The shapes of everything that the operations name.
pub(super) fn components() -> ComponentsBuilder {
    let mut shapes = Vec::new();
    add::<Envelope>(&mut shapes);
    add::<PutRequest>(&mut shapes);
    add::<PutResponse>(&mut shapes);
    add::<GetRequest>(&mut shapes);
    add::<GetResponse>(&mut shapes);
    add::<GetRefRequest>(&mut shapes);
    add::<GetRefResponse>(&mut shapes);
    add::<ListRequest>(&mut shapes);
    add::<ListResponse>(&mut shapes);
    add::<DeleteRequest>(&mut shapes);
    add::<DeleteResponse>(&mut shapes);
    add::<RuntimeRequest>(&mut shapes);
    add::<InfoResponse>(&mut shapes);
    add::<HealthResponse>(&mut shapes);
    add::<DriversResponse>(&mut shapes);
    add::<EventData>(&mut shapes);
    add::<Alive>(&mut shapes);
    let request_id = HeaderBuilder::new()
        .schema(Some(text().pattern(Some("^[0-9a-f]{32}$"))))
        .description(Some("The request's id, under which the server's log tells the cause of a failure."));
    ComponentsBuilder::new()
        .schemas_from_iter(shapes)
        .schema(FRAME, frame())
        .header(REQUEST_ID, request_id.build())
}

fn add<T: ToSchema>(shapes: &mut Vec<(String, RefOr<Schema>)>) {
    shapes.push((T::name().into_owned(), T::schema()));
    T::schemas(shapes);
}

/// What the document says that its library has no words for.
pub(super) fn finish(document: &mut Value) {
    document["components"]["headers"][REQUEST_ID]["required"] = json!(true);
    let shapes = document["components"]["schemas"].as_object_mut();
    for shape in shapes.into_iter().flat_map(serde_json::Map::values_mut) {
        if let Some(version) = shape.pointer_mut("/properties/protocol_version") {
            version["const"] = json!(PROTOCOL_VERSION);
        }
    }
}

/// A reference to the shape of `T`.
pub(super) fn of<T: ToSchema>() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(T::name()))
}

/// An event as it stands in the stream.
fn frame() -> Schema {
    let data = text()
        .content_media_type("application/json")
        .content_schema(Some(of::<EventData>()))
        .description(Some("The event as JSON, on one line."));
    let about = format!(
        "One event of the stream, its lines as members. The stream begins with `retry: {}`, and says that it lives with a comment \
         every {} seconds. The comment `{GAP}` stands where events were lost, `{TOO_SLOW}` before the end of a stream that was \
         read too slowly, and `{TOKEN_EXPIRED}` before the end of one whose token is not valid any more.",
        RETRY.as_millis(),
        KEEP_ALIVE.as_secs(),
    );
    let id = text().description(Some("Where the stream is: what `last-event-id` takes."));
    ObjectBuilder::new()
        .property("id", id)
        .required("id")
        .property("event", EventKind::schema())
        .required("event")
        .property("data", data)
        .required("data")
        .description(Some(about))
        .build()
        .into()
}

/// Bytes of any kind.
pub(super) fn bytes() -> Schema {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into()
}

/// The stream of events. It is bytes that flow: what reads it as one text waits for an end that does not come.
pub(super) fn stream() -> Schema {
    text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
        .content_media_type(EVENT_STREAM)
        .content_schema(Some(RefOr::Ref(Ref::from_schema_name(FRAME))))
        .into()
}

/// What a field's value is.
pub(super) fn of_field(field: &Field, place: &ParameterIn) -> Schema {
    if field.many && is_header(place) {
        return list(field).into();
    }
    let one = match field.takes {
        Takes::Text => text(),
        Takes::Part => text().max_length(Some(256)).pattern(Some("^[^\\x00-\\x1f\\x7f-\\x9f]*$")),
        Takes::Namespace => text().pattern(Some("^(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?$")),
        Takes::Words(words) => text().enum_values(Some(words.iter().copied())),
        Takes::Digests => text().pattern(Some("^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$")),
    };
    if field.many {
        return utoipa::openapi::schema::Array::new(one).into();
    }
    one.into()
}

/// What a field does, and how several values are written where its type does not tell.
pub(super) fn about_field(field: &Field, place: &ParameterIn) -> String {
    if !(field.many && is_header(place)) {
        return field.about.to_owned();
    }
    let several = format!("{} Several are separated by commas.", field.about);
    match field.takes {
        Takes::Words(words) => format!("{several} It takes `{}`.", words.join("`, `")),
        _ => several,
    }
}

/// The values of a header that holds several. HTTP has one text with commas there, and not every generator of clients takes an
/// array for it.
fn list(field: &Field) -> ObjectBuilder {
    let Takes::Words(words) = field.takes else { return text() };
    let word = format!("(?:{})", words.join("|").replace('.', "\\."));
    text().pattern(Some(format!("^{word}(?:[ \\t]*,[ \\t]*{word})*$")))
}

fn is_header(place: &ParameterIn) -> bool {
    matches!(place, ParameterIn::Header)
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
