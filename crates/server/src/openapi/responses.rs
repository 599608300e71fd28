//! The responses of the operations in the OpenAPI document: one for each status. The descriptions of refusals come from
//! the registry of codes. This module must never know a route.

use std::collections::BTreeMap;

use artifact_store_protocol::{BUS_CLOSED_STATUS, Code, Envelope, SUBSCRIBER_LIMIT_STATUS};
use serde_json::Value;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{
    Content, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Responses,
    ResponsesBuilder,
};

use super::examples;
use super::schemas::{REQUEST_ID, schema_ref};

/// The responses of an operation.
pub(super) struct OperationResponses {
    responses: ResponsesBuilder,
    /// The codes of the refusals, by status.
    refusals: BTreeMap<u16, Vec<Code>>,
    /// Whether the operation is HEAD. Its responses have no bodies.
    is_head: bool,
}

impl OperationResponses {
    pub(super) fn new() -> Self {
        // Any request may be refused because there are too many connections. This refusal has the same status (429) as
        // the refusal of a subscriber.
        let refusals = BTreeMap::from([(SUBSCRIBER_LIMIT_STATUS, vec![Code::RuntimeError])]);
        Self { responses: ResponsesBuilder::new(), refusals, is_head: false }
    }

    /// The responses to HEAD.
    pub(super) fn for_head() -> Self {
        Self { is_head: true, ..Self::new() }
    }

    /// Adds a response that is not a refusal.
    pub(super) fn with_response(mut self, status: u16, response: ResponseBuilder) -> Self {
        let response = response.header_ref("X-Request-Id", request_id());
        self.responses = self.responses.response(status.to_string(), response);
        self
    }

    /// Adds a refusal for each code, with the status of the code.
    pub(super) fn with_errors(mut self, codes: &[Code]) -> Self {
        for code in codes {
            self = self.with_error(code.status(), *code);
        }
        self
    }

    /// Adds a refusal with this status, which may differ from the status of the code.
    pub(super) fn with_error(mut self, status: u16, code: Code) -> Self {
        let codes = self.refusals.entry(status).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
        self
    }

    pub(super) fn build(self) -> Responses {
        let Self { mut responses, refusals, is_head } = self;
        for (status, codes) in refusals {
            responses = responses.response(status.to_string(), error_response(status, &codes, is_head));
        }
        responses.build()
    }
}

/// Returns a reference to the header `X-Request-Id`.
fn request_id() -> Ref {
    Ref::new(format!("#/components/headers/{REQUEST_ID}"))
}

/// Returns the response for all refusals with `status`. `codes` are their codes.
fn error_response(status: u16, codes: &[Code], is_head: bool) -> RefOr<Response> {
    let descriptions: Vec<String> =
        codes.iter().map(|code| format!("`{code}`: {}", error_description(status, *code))).collect();
    let mut response = ResponseBuilder::new()
        .description(descriptions.join("\n\n"))
        .header_ref("X-Request-Id", request_id());
    if !is_head {
        let examples = codes.iter().map(|code| (code.as_str(), examples::error(*code, status)));
        let envelope =
            ContentBuilder::new().schema(Some(schema_ref::<Envelope>())).examples_from_iter(examples);
        response = response.content("application/json", envelope.build());
    }
    match status {
        401 => {
            response = response.header(
                "WWW-Authenticate",
                header("`Bearer` if no token was sent, `Bearer error=\"invalid_token\"` if the token was refused."),
            );
        }
        416 => {
            response = response.header(
                "Content-Range",
                header("The size of the artifact, in the form of an unsatisfiable range (RFC 9110 §14.4)."),
            );
        }
        429 | 503 => response = response.header("Retry-After", header("How many seconds to wait.")),
        _ => {}
    }
    response.into()
}

/// Returns the description of a refusal. Some statuses have their own description. For any other status, the
/// description of the code is returned.
fn error_description(status: u16, code: Code) -> &'static str {
    match status {
        412 => "`If-Match` or `If-Unmodified-Since` does not hold.",
        416 => "The range covers no byte of the artifact.",
        SUBSCRIBER_LIMIT_STATUS => {
            "A limit is reached: too many connections, too many requests of the user or tenant, or too many event streams of the session, the user, the tenant or the server."
        }
        BUS_CLOSED_STATUS => "The server is shutting down.",
        _ => code.descriptor().description,
    }
}

/// A header whose value is a string.
pub(super) fn header(description: &str) -> utoipa::openapi::Header {
    let text = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).build()
}

/// JSON content with a schema and an example. The parts of `example` are its name and its value.
pub(super) fn json_content(
    schema: RefOr<utoipa::openapi::Schema>,
    example: Option<(&str, Value)>,
) -> Content {
    let example = example.map(|(name, value)| (name.to_owned(), examples::with_value(value)));
    ContentBuilder::new().schema(Some(schema)).examples_from_iter(example).build()
}
