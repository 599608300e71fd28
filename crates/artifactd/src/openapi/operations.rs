//! The operations: what each route takes and answers.

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

use super::answers::{Answers, header, json as json_of};
use super::schemas::{EVENT_STREAM, about_field, bytes, of, of_field, stream};
use super::{ACCESS_TOKEN, BEARER, examples};
use crate::http::{Alive, Field, IDENTITY, RANGES, ROUTES, Route, Serve};
use crate::metrics::Format;

/// What any request may be refused with, and what any that needs a token may be.
const ANY: &[Code] = &[Code::InvalidRequest, Code::RuntimeError];
const VERIFIED: &[Code] =
    &[Code::AuthRejected, Code::IdentityRequired, Code::InvalidRequest, Code::RuntimeError];

/// The media type of bytes that are of no known one.
const OCTETS: &str = "application/octet-stream";

/// Every route.
pub(super) fn paths() -> Paths {
    let mut paths = PathsBuilder::new();
    for route in ROUTES {
        if route.serve == Serve::Control {
            for method in Method::ALL {
                let path = route.path.replace("{method}", method.name());
                paths = paths.path(path, PathItem::new(HttpMethod::Post, control(route, *method)));
            }
        }
        for verb in route.verbs {
            let item = match *verb {
                "HEAD" => PathItem::new(HttpMethod::Head, operation(route, true)),
                "POST" => PathItem::new(HttpMethod::Post, operation(route, false)),
                "PUT" => PathItem::new(HttpMethod::Put, operation(route, false)),
                _ => PathItem::new(HttpMethod::Get, operation(route, false)),
            };
            paths = paths.path(route.path, item);
        }
    }
    paths.build()
}

/// What every operation of a route has.
fn begin(route: &Route, tag: &str, id: &str, summary: &str) -> OperationBuilder {
    let mut operation = OperationBuilder::new().tag(tag).operation_id(Some(id)).summary(Some(summary));
    let identity = if route.token { IDENTITY } else { &[] };
    // The token in the query is a scheme of its own.
    for field in route.query().iter().filter(|field| field.name != ACCESS_TOKEN) {
        operation = operation.parameter(parameter(field, ParameterIn::Query));
    }
    for field in route.headers().iter().chain(identity) {
        operation = operation.parameter(parameter(field, ParameterIn::Header));
    }
    if route.token {
        operation = operation.security(SecurityRequirement::new(BEARER, [""; 0]));
    }
    if route.serve == Serve::Events {
        operation = operation.security(SecurityRequirement::new(ACCESS_TOKEN, [""; 0]));
    }
    operation
}

fn parameter(field: &Field, place: ParameterIn) -> ParameterBuilder {
    let (about, schema) = (about_field(field, &place), of_field(field, &place));
    ParameterBuilder::new()
        .name(field.name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
}

/// A part of the path.
fn segment(name: &str, about: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn control(route: &Route, method: Method) -> Operation {
    use Code::{IdentityScopeRequired, NotFound, PayloadInvalid, PresignUnsupported, ScopeMismatch};
    let (request, answer, codes): (_, _, &[Code]) = match method {
        Method::ArtifactsPut => (of::<PutRequest>(), of::<PutResponse>(), &[ScopeMismatch, PayloadInvalid]),
        Method::ArtifactsGet => (of::<GetRequest>(), of::<GetResponse>(), &[NotFound]),
        Method::ArtifactsGetRef => {
            (of::<GetRefRequest>(), of::<GetRefResponse>(), &[NotFound, PresignUnsupported])
        }
        Method::ArtifactsList => (of::<ListRequest>(), of::<ListResponse>(), &[IdentityScopeRequired]),
        Method::ArtifactsDelete => {
            (of::<DeleteRequest>(), of::<DeleteResponse>(), &[IdentityScopeRequired, NotFound])
        }
        Method::RuntimeInfo => (of::<RuntimeRequest>(), of::<InfoResponse>(), &[]),
        Method::RuntimeHealth => (of::<RuntimeRequest>(), of::<HealthResponse>(), &[]),
        Method::RuntimeDrivers => (of::<RuntimeRequest>(), of::<DriversResponse>(), &[]),
    };
    let example = examples::of(method);
    let mut done = ResponseBuilder::new()
        .description("Done.")
        .content("application/json", json_of(answer, Some((example.name, example.answer))));
    if method == Method::ArtifactsPut {
        done = linked(done);
    }
    let answers =
        Answers::new().with(200, done).refusing(VERIFIED).refusing(&[Code::RequestTooLarge]).refusing(codes);
    begin(route, "control", method.name(), method.sentence())
        .request_body(Some(body(request, (example.name, example.request))))
        .responses(answers.build())
        .build()
}

fn body(schema: RefOr<Schema>, example: (&str, serde_json::Value)) -> RequestBody {
    RequestBodyBuilder::new()
        .required(Some(Required::True))
        .content("application/json", json_of(schema, Some(example)))
        .build()
}

/// An answer with a ref, and where its id leads. A link into the body of a method would be no expression of OpenAPI, which takes
/// one for a whole body: generators of clients refuse it.
fn linked(mut response: ResponseBuilder) -> ResponseBuilder {
    const ID: &str = "$response.body#/ref/id";
    for operation in ["bytes.get", "bytes.head"] {
        let link = Link::builder().operation_id(operation).parameter("id", ID);
        response = response.link(operation, link.build());
    }
    response
}

/// The operation of a route that is no method.
fn operation(route: &Route, head: bool) -> Operation {
    match route.serve {
        Serve::Control => any_other(route),
        Serve::Events => events(route),
        Serve::Upload => upload(route),
        Serve::Download => download(route, head),
        Serve::Alive => {
            probe(route, head, "alive", ("Whether the process lives.", "It does."), of::<Alive>())
        }
        Serve::Ready => {
            let about = "Whether the server can serve, and how well its subsystems are; 500 where not, and while it is stopping.";
            probe(route, head, "ready", (about, "It can."), of::<HealthResponse>())
        }
        Serve::Metrics => metrics(route, head),
        Serve::OpenApi => {
            let any = ObjectBuilder::new().description(Some("A document of OpenAPI 3.1.")).build();
            let about = ("The OpenAPI document of this server.", "The document.");
            probe(route, head, "openapi", about, RefOr::T(any.into()))
        }
    }
}

fn any_other(route: &Route) -> Operation {
    let about = "Any other method, those of the protocol that this runtime does not serve too.";
    begin(route, "control", "unknown_method", about)
        .parameter(segment("method", "The name of a method that has no path of its own here."))
        .responses(
            Answers::new()
                .refusing(&[
                    Code::AuthRejected,
                    Code::IdentityRequired,
                    Code::UnknownMethod,
                    Code::RuntimeError,
                ])
                .build(),
        )
        .build()
}

fn events(route: &Route) -> Operation {
    let stream = ResponseBuilder::new()
        .description("A stream that lives until either side ends it.")
        .content(EVENT_STREAM, content_of(stream()));
    begin(
        route,
        "events",
        "events.subscribe",
        "Tells what happens in the session, from now on or from an event on.",
    )
    .responses(
        Answers::new()
            .with(200, stream)
            .refusing(VERIFIED)
            .refusing(&[Code::IdentityScopeRequired])
            .refusing_with(SUBSCRIBER_LIMIT_STATUS, Code::RuntimeError)
            .refusing_with(BUS_CLOSED_STATUS, Code::RuntimeError)
            .build(),
    )
    .build()
}

fn content_of(schema: impl Into<RefOr<Schema>>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

/// An answer with bytes. They have the media type that they were put with; generators of clients know only the one by name.
fn with_bytes(response: ResponseBuilder) -> ResponseBuilder {
    response.content(OCTETS, content_of(bytes())).content("*/*", content_of(bytes()))
}

fn upload(route: &Route) -> Operation {
    let body = RequestBodyBuilder::new()
        .description(Some(
            "The artifact, as it is. Its `Content-Type` becomes the media type, and may be any: the one named here is what clients \
             send that know no better.",
        ))
        .content(OCTETS, content_of(bytes()));
    let stands = |about: &str, name, value| {
        ResponseBuilder::new()
            .description(about)
            .content("application/json", json_of(of::<PutResponse>(), Some((name, value))))
    };
    let example = examples::of(Method::ArtifactsPut);
    let created = stands("It is stored.", example.name, example.answer.clone())
        .header("Location", header("Where to download it, relative to the request's target."));
    let created = linked(created);
    let stood = stands(
        "The same bytes stood already; the first writer's options stay.",
        example.name,
        example.answer,
    );
    let stood = linked(stood);
    begin(route, "bytes", "bytes.put", "Stores the body, while it flows.")
        .request_body(Some(body.build()))
        .responses(
            Answers::new()
                .with(201, created)
                .with(200, stood)
                .refusing(VERIFIED)
                .refusing(&[Code::PayloadInvalid, Code::RequestTooLarge])
                .refusing_with(412, Code::InvalidRequest)
                .build(),
        )
        .build()
}

/// What every answer about an artifact's bytes tells a cache, and what one with bytes tells a client.
const CACHED: &[(&str, &str)] = &[
    ("ETag", "The SHA-256 in hex, in quotes."),
    ("Last-Modified", "When the store accepted it; never later than `Date`."),
    ("Cache-Control", "`private, immutable`."),
    ("Vary", "`authorization, x-harbor-session`."),
];
const SERVED: &[(&str, &str)] = &[
    ("Accept-Ranges", "`bytes`."),
    ("Content-Disposition", "`attachment`, or `inline` where it may be, and the file's name."),
    ("Content-Security-Policy", "`sandbox; default-src 'none'`."),
    ("Repr-Digest", "The SHA-256 of the whole (RFC 9530)."),
];

fn download(route: &Route, head: bool) -> Operation {
    let answer = |about: &str, headers: &[&[(&str, &str)]]| {
        let all = headers.iter().copied().flatten();
        all.fold(ResponseBuilder::new().description(about), |response, (name, about)| {
            response.header(*name, header(about))
        })
    };
    let (id, summary) = if head {
        ("bytes.head", "Answers as a download would, without the bytes.")
    } else {
        ("bytes.get", "Downloads an artifact, whole or a range of it.")
    };
    let whole = answer("The whole.", &[CACHED, SERVED]);
    let unchanged = answer("The client has it already.", &[CACHED]);
    let answers = if head {
        Answers::to_head().with(200, whole)
    } else {
        let part = answer("The range that was asked for.", &[CACHED, SERVED])
            .header("Content-Range", header("Which bytes these are: `bytes FIRST-LAST/SIZE`."));
        Answers::new()
            .with(200, with_bytes(whole))
            .with(206, with_bytes(part))
            .refusing_with(416, Code::InvalidRequest)
    };
    let mut operation = begin(route, "bytes", id, summary);
    for field in RANGES.iter().filter(|_| !head) {
        operation = operation.parameter(parameter(field, ParameterIn::Header));
    }
    operation
        .parameter(segment("id", "The artifact's id."))
        .responses(
            answers
                .with(304, unchanged)
                .refusing(VERIFIED)
                .refusing(&[Code::NotFound])
                .refusing_with(412, Code::InvalidRequest)
                .build(),
        )
        .build()
}

fn probe(
    route: &Route,
    head: bool,
    id: &str,
    (summary, yes): (&str, &str),
    schema: RefOr<Schema>,
) -> Operation {
    let done = ResponseBuilder::new().description(yes);
    open_to_all(route, head, (id, summary), done, &[("application/json", content_of(schema))])
}

/// An operation that needs no token; to HEAD it answers without `contents`.
fn open_to_all(
    route: &Route,
    head: bool,
    (id, summary): (&str, &str),
    done: ResponseBuilder,
    contents: &[(&str, Content)],
) -> Operation {
    let answers = if head {
        Answers::to_head().with(200, done)
    } else {
        let of_kind =
            |done: ResponseBuilder, (kind, content): &(&str, Content)| done.content(*kind, content.clone());
        Answers::new().with(200, contents.iter().fold(done, of_kind))
    };
    let id = if head { format!("{id}.head") } else { id.to_owned() };
    begin(route, "probes", &id, summary).responses(answers.refusing(ANY).build()).build()
}

fn metrics(route: &Route, head: bool) -> Operation {
    let done = ResponseBuilder::new()
        .description(
            "Them, in the text format of Prometheus, or in that of OpenMetrics where `Accept` likes it at least as much.",
        )
        .header("Vary", header("`accept`."));
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let content = || content_of(text.clone());
    let contents = [Format::Prometheus, Format::OpenMetrics].map(|format| (format.essence(), content()));
    open_to_all(
        route,
        head,
        ("metrics", "What the server counts, and figures of its process."),
        done,
        &contents,
    )
}
