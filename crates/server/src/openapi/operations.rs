//! The operations of the OpenAPI document: the requests and responses of each route.

use artifact_store_protocol::{
    BUS_CLOSED_STATUS, Code, DeleteRequest, DeleteResponse, DriversResponse, GetRefRequest, GetRefResponse,
    GetRequest, GetResponse, HealthResponse, InfoResponse, ListRequest, ListResponse, Method, PutRequest,
    PutResponse, RuntimeRequest, SUBSCRIBER_LIMIT_STATUS,
};
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Content, ContentBuilder, ObjectBuilder, PathItem, Paths, PathsBuilder, RefOr, Required, ResponseBuilder,
};

use super::examples;
use super::responses::{OperationResponses, header, json_content};
use super::schemas::{
    EVENT_STREAM, bytes_schema, field_description, field_schema, schema_ref, stream_schema,
};
use super::security::{ACCESS_TOKEN, BEARER};
use crate::liveness::Liveness;
use crate::metrics::Format;
use crate::routes::{IDENTITY_HEADERS, RANGE_HEADERS, ROUTES, RequestField, Route, RouteKind};
use crate::server_description::ServerDescription;

/// The codes with which any request can be refused.
const COMMON_ERRORS: &[Code] = &[Code::InvalidRequest, Code::RuntimeError];
/// The codes with which any request that needs a token can be refused.
const TOKEN_ERRORS: &[Code] =
    &[Code::AuthRejected, Code::IdentityRequired, Code::InvalidRequest, Code::RuntimeError];

/// The OAuth scopes of a security requirement. There are none, because the security schemes are not OAuth.
const NO_SCOPES: [&str; 0] = [];

/// The media type of bytes whose type is unknown.
const OCTET_STREAM: &str = "application/octet-stream";

/// Returns the paths of all routes.
pub(super) fn paths() -> Paths {
    let mut paths = PathsBuilder::new();
    for route in ROUTES {
        // Each control method has its own path. The path with `{method}` describes all other control methods.
        if route.kind == RouteKind::Control {
            for method in Method::ALL {
                let path = route.path.replace("{method}", method.name());
                paths = paths.path(path, PathItem::new(HttpMethod::Post, control_operation(route, *method)));
            }
        }
        for name in route.verbs {
            let is_head = *name == "HEAD";
            let method = match *name {
                "HEAD" => HttpMethod::Head,
                "POST" => HttpMethod::Post,
                "PUT" => HttpMethod::Put,
                _ => HttpMethod::Get,
            };
            paths = paths.path(route.path, PathItem::new(method, operation(route, is_head)));
        }
    }
    paths.build()
}

/// Starts an operation of `route`, with everything that all operations of the route have in common.
fn operation_builder(route: &Route, tag: &str, id: &str, summary: &str) -> OperationBuilder {
    let mut operation = OperationBuilder::new().tag(tag).operation_id(Some(id)).summary(Some(summary));
    let identity = if route.token { IDENTITY_HEADERS } else { &[] };
    // The token in the query is described as a security scheme, so it is not a parameter.
    for field in route.query().iter().filter(|field| field.name != ACCESS_TOKEN) {
        operation = operation.parameter(parameter(field, ParameterIn::Query));
    }
    for field in route.headers().iter().chain(identity) {
        operation = operation.parameter(parameter(field, ParameterIn::Header));
    }
    if route.token {
        operation = operation.security(SecurityRequirement::new(BEARER, NO_SCOPES));
    }
    if route.kind == RouteKind::Events {
        operation = operation.security(SecurityRequirement::new(ACCESS_TOKEN, NO_SCOPES));
    }
    operation
}

/// A parameter in the query or in a header.
fn parameter(field: &RequestField, location: ParameterIn) -> ParameterBuilder {
    let (description, schema) = (field_description(field, &location), field_schema(field, &location));
    ParameterBuilder::new()
        .name(field.name)
        .parameter_in(location)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
}

/// A parameter in the path.
fn path_parameter(name: &str, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

/// Returns the operation of a control method.
fn control_operation(route: &Route, method: Method) -> Operation {
    use Code::{IdentityScopeRequired, NotFound, PayloadInvalid, PresignUnsupported, ScopeMismatch};
    // `codes` are the codes with which only some methods can be refused.
    let (request, response, codes): (_, _, &[Code]) = match method {
        Method::ArtifactsPut => {
            (schema_ref::<PutRequest>(), schema_ref::<PutResponse>(), &[ScopeMismatch, PayloadInvalid])
        }
        Method::ArtifactsGet => (schema_ref::<GetRequest>(), schema_ref::<GetResponse>(), &[NotFound]),
        Method::ArtifactsGetRef => {
            (schema_ref::<GetRefRequest>(), schema_ref::<GetRefResponse>(), &[NotFound, PresignUnsupported])
        }
        Method::ArtifactsList => {
            (schema_ref::<ListRequest>(), schema_ref::<ListResponse>(), &[IdentityScopeRequired])
        }
        Method::ArtifactsDelete => (
            schema_ref::<DeleteRequest>(),
            schema_ref::<DeleteResponse>(),
            &[IdentityScopeRequired, NotFound],
        ),
        Method::RuntimeInfo => (schema_ref::<RuntimeRequest>(), schema_ref::<InfoResponse>(), &[]),
        Method::RuntimeHealth => (schema_ref::<RuntimeRequest>(), schema_ref::<HealthResponse>(), &[]),
        Method::RuntimeDrivers => (schema_ref::<RuntimeRequest>(), schema_ref::<DriversResponse>(), &[]),
    };
    let example = examples::for_method(method);
    let mut ok = ResponseBuilder::new()
        .description("Done.")
        .content("application/json", json_content(response, Some((example.name, example.response))));
    if method == Method::ArtifactsPut {
        ok = with_links(ok);
    }
    let responses = OperationResponses::new()
        .with_response(200, ok)
        .with_errors(TOKEN_ERRORS)
        .with_errors(&[Code::RequestTooLarge])
        .with_errors(codes);
    operation_builder(route, "control", method.name(), method.description())
        .request_body(Some(json_request_body(request, (example.name, example.request))))
        .responses(responses.build())
        .build()
}

/// A JSON request body with an example. The parts of `example` are its name and its value.
fn json_request_body(schema: RefOr<Schema>, example: (&str, serde_json::Value)) -> RequestBody {
    RequestBodyBuilder::new()
        .required(Some(Required::True))
        .content("application/json", json_content(schema, Some(example)))
        .build()
}

/// Adds links from the ref in a response to the operations that take the id of the ref as a parameter. Links to control
/// methods are not possible, because these methods take the id in a member of the request body. In OpenAPI an
/// expression can only set the whole request body, and client generators reject an expression within the body.
fn with_links(mut response: ResponseBuilder) -> ResponseBuilder {
    const ID: &str = "$response.body#/ref/id";
    for operation in ["bytes.get", "bytes.head"] {
        let link = Link::builder().operation_id(operation).parameter("id", ID);
        response = response.link(operation, link.build());
    }
    response
}

/// Returns the operation of a route. For the route of the control plane, this is the operation of unknown methods.
fn operation(route: &Route, is_head: bool) -> Operation {
    match route.kind {
        RouteKind::Control => unknown_method_operation(route),
        RouteKind::Events => events_operation(route),
        RouteKind::Upload => upload_operation(route),
        RouteKind::Download => download_operation(route, is_head),
        RouteKind::Healthz => json_operation(
            route,
            is_head,
            "alive",
            ("Whether the process is alive.", "The process is alive."),
            schema_ref::<Liveness>(),
        ),
        RouteKind::Readyz => {
            let description = "Whether the server can serve requests, and the status of its subsystems. 500 if it cannot, or while it is shutting down.";
            json_operation(
                route,
                is_head,
                "ready",
                (description, "The server can serve requests."),
                schema_ref::<HealthResponse>(),
            )
        }
        RouteKind::Metrics => metrics_operation(route, is_head),
        RouteKind::OpenApi => {
            let any = ObjectBuilder::new().description(Some("A document of OpenAPI 3.1.")).build();
            let description = ("The OpenAPI document of this server.", "The document.");
            json_operation(route, is_head, "openapi", description, RefOr::T(any.into()))
        }
        RouteKind::Root => {
            let description = (
                "What this server is, and where its description is.",
                "The name, the version and the addresses.",
            );
            json_operation(route, is_head, "root", description, schema_ref::<ServerDescription>())
        }
    }
}

fn unknown_method_operation(route: &Route) -> Operation {
    let description = "Any other method, including those of the protocol that this runtime does not serve.";
    operation_builder(route, "control", "unknown_method", description)
        .parameter(path_parameter(
            "method",
            "The name of a method that has no path of its own in this document.",
        ))
        .responses(
            OperationResponses::new()
                .with_errors(&[
                    Code::AuthRejected,
                    Code::IdentityRequired,
                    Code::UnknownMethod,
                    Code::RuntimeError,
                ])
                .build(),
        )
        .build()
}

fn events_operation(route: &Route) -> Operation {
    let stream = ResponseBuilder::new()
        .description("A stream of events, until the client or the server ends it.")
        .content(EVENT_STREAM, content(stream_schema()));
    operation_builder(
        route,
        "events",
        "events.subscribe",
        "Streams the events of the session, from now on or after a given event.",
    )
    .responses(
        OperationResponses::new()
            .with_response(200, stream)
            .with_errors(TOKEN_ERRORS)
            .with_errors(&[Code::IdentityScopeRequired])
            .with_error(SUBSCRIBER_LIMIT_STATUS, Code::RuntimeError)
            .with_error(BUS_CLOSED_STATUS, Code::RuntimeError)
            .build(),
    )
    .build()
}

/// Content without an example.
fn content(schema: impl Into<RefOr<Schema>>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

/// Adds content with an artifact's bytes. The response has the media type of the artifact, so any media type is
/// possible (`*/*`). Client generators need a specific media type, so the content is also listed as [`OCTET_STREAM`].
fn with_bytes(response: ResponseBuilder) -> ResponseBuilder {
    response.content(OCTET_STREAM, content(bytes_schema())).content("*/*", content(bytes_schema()))
}

fn upload_operation(route: &Route) -> Operation {
    let body = RequestBodyBuilder::new()
        .description(Some(
            "The bytes of the artifact. `Content-Type` becomes its media type, and may be any. The one named here stands for bytes of \
             an unknown type.",
        ))
        .content(OCTET_STREAM, content(bytes_schema()));
    let put_response = |description: &str, name, value| {
        ResponseBuilder::new()
            .description(description)
            .content("application/json", json_content(schema_ref::<PutResponse>(), Some((name, value))))
    };
    let example = examples::for_method(Method::ArtifactsPut);
    let created = put_response("The artifact was stored.", example.name, example.response.clone())
        .header("Location", header("Where to download the artifact, relative to the request's target."));
    let created = with_links(created);
    let existing = put_response(
        "The same bytes were already stored. The options of the first put stay.",
        example.name,
        example.response,
    );
    let existing = with_links(existing);
    operation_builder(route, "bytes", "bytes.put", "Stores the body while it arrives.")
        .request_body(Some(body.build()))
        .responses(
            OperationResponses::new()
                .with_response(201, created)
                .with_response(200, existing)
                .with_errors(TOKEN_ERRORS)
                .with_errors(&[Code::PayloadInvalid, Code::RequestTooLarge])
                .with_error(412, Code::InvalidRequest)
                .build(),
        )
        .build()
}

/// The headers for caches. Every successful download and every 304 has them.
const CACHE_HEADERS: &[(&str, &str)] = &[
    ("ETag", "The SHA-256 in hex, in quotes."),
    ("Last-Modified", "When the store accepted the artifact; never later than `Date`."),
    ("Cache-Control", "`private, immutable`."),
    ("Vary", "`authorization, x-harbor-session`."),
];
/// The headers of a successful download, in addition to [`CACHE_HEADERS`].
const DOWNLOAD_HEADERS: &[(&str, &str)] = &[
    ("Accept-Ranges", "`bytes`."),
    ("Content-Disposition", "`attachment` or `inline`, and the filename."),
    ("Content-Security-Policy", "`sandbox; default-src 'none'`."),
    ("Repr-Digest", "The SHA-256 of the whole artifact (RFC 9530)."),
];

fn download_operation(route: &Route, is_head: bool) -> Operation {
    let response = |description: &str, headers: &[&[(&str, &str)]]| {
        let mut response = ResponseBuilder::new().description(description);
        for (name, header_description) in headers.iter().copied().flatten() {
            response = response.header(*name, header(header_description));
        }
        response
    };
    let (id, summary) = if is_head {
        ("bytes.head", "Returns the headers of a download without the bytes.")
    } else {
        ("bytes.get", "Downloads an artifact, or a range of its bytes.")
    };
    let whole = response("The whole artifact.", &[CACHE_HEADERS, DOWNLOAD_HEADERS]);
    let not_modified = response("The client already has the bytes.", &[CACHE_HEADERS]);
    let responses = if is_head {
        OperationResponses::for_head().with_response(200, whole)
    } else {
        let part = response("The requested range.", &[CACHE_HEADERS, DOWNLOAD_HEADERS])
            .header("Content-Range", header("The position of the bytes: `bytes FIRST-LAST/SIZE`."));
        OperationResponses::new()
            .with_response(200, with_bytes(whole))
            .with_response(206, with_bytes(part))
            .with_error(416, Code::InvalidRequest)
    };
    let mut operation = operation_builder(route, "bytes", id, summary);
    if !is_head {
        for field in RANGE_HEADERS {
            operation = operation.parameter(parameter(field, ParameterIn::Header));
        }
    }
    operation
        .parameter(path_parameter("id", "The artifact's id."))
        .responses(
            responses
                .with_response(304, not_modified)
                .with_errors(TOKEN_ERRORS)
                .with_errors(&[Code::NotFound])
                .with_error(412, Code::InvalidRequest)
                .build(),
        )
        .build()
}

/// Returns an operation that needs no token and returns JSON. `summary` describes the operation, and `ok_description`
/// the response with the status 200.
fn json_operation(
    route: &Route,
    is_head: bool,
    id: &str,
    (summary, ok_description): (&str, &str),
    schema: RefOr<Schema>,
) -> Operation {
    let ok = ResponseBuilder::new().description(ok_description);
    public_operation(route, is_head, (id, summary), ok, &[("application/json", content(schema))])
}

/// Returns an operation that needs no token. `ok` is the response with the status 200, without its body. `contents` are
/// the media types of the body and their schemas. The response to HEAD has no body.
fn public_operation(
    route: &Route,
    is_head: bool,
    (id, summary): (&str, &str),
    ok: ResponseBuilder,
    contents: &[(&str, Content)],
) -> Operation {
    let responses = if is_head {
        OperationResponses::for_head().with_response(200, ok)
    } else {
        let mut ok = ok;
        for (media_type, content) in contents {
            ok = ok.content(*media_type, content.clone());
        }
        OperationResponses::new().with_response(200, ok)
    };
    let id = if is_head { format!("{id}.head") } else { id.to_owned() };
    operation_builder(route, "probes", &id, summary)
        .responses(responses.with_errors(COMMON_ERRORS).build())
        .build()
}

fn metrics_operation(route: &Route, is_head: bool) -> Operation {
    let ok = ResponseBuilder::new()
        .description(
            "The metrics, in the text format of Prometheus, or of OpenMetrics if `Accept` gives it at least the same weight.",
        )
        .header("Vary", header("`accept`."));
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let contents =
        [Format::Prometheus, Format::OpenMetrics].map(|format| (format.essence(), content(text.clone())));
    public_operation(
        route,
        is_head,
        ("metrics", "The metrics of the server and of its process."),
        ok,
        &contents,
    )
}
