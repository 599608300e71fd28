//! `methods.md`: the methods and routes of the server. This module must never know how a request is served.

use artifact_store_protocol::Method;
use serde_json::Value;

use super::document::{Document, Operation, entries, json_content, text};
use super::markdown::{Markdown, anchor, code};
use super::members::MemberTables;
use super::routes::{self, RESPONSE_COLUMNS, SharedParts};

/// The columns of a table of members of a request.
const REQUEST_COLUMNS: &[&str] = &["member", "type", "required", "meaning"];

const INTRO: &str = "\
A method is `POST /v1/control/{method}` with a JSON object and `Content-Type: application/json`. A member that the method
does not declare is `invalid_request`, and the message names the member. `null` counts as absent. [errors.md](errors.md) explains
each code. [openapi.json](openapi.json) is the same as a document of OpenAPI 3.1.";

const TOKEN: &str = "\
Every route except those [without a token](#without-a-token) takes `Authorization: Bearer <JWT>`, and these headers:";

pub(super) fn page(document: &Document) -> String {
    // The path that ends with `{method}` stands for every name that is not a method.
    let (unknown_methods, mut methods): (Vec<_>, Vec<_>) =
        document.operations("control").into_iter().partition(|method| method.path.ends_with('}'));
    methods.sort_by_key(|method| Method::ALL.iter().position(|known| known.name() == method_name(*method)));
    let operations = [methods.clone(), unknown_methods.clone(), routes::all(document)].concat();
    let members = MemberTables::new(document, &body_schemas(document, &operations));
    let shared = SharedParts::new(document, &members, methods.first(), &operations);

    let mut page = Markdown::with_title("Methods and routes");
    page.paragraph(INTRO);
    let index = methods.iter().map(|method| {
        let name = method_name(*method);
        vec![format!("[`{name}`](#{})", anchor(name)), text(method.value, "summary").to_owned()]
    });
    page.table(&["method", "what it does"], &index.collect::<Vec<_>>());
    routes::add_index(&mut page, document);
    page.paragraph(TOKEN);
    page.table(routes::PARAMETER_COLUMNS, &shared.parameters);
    page.paragraph(&shared.headers_sentence());
    for method in methods {
        page.heading(2, &code(method_name(method)));
        page.paragraph(text(method.value, "summary"));
        page.paragraph(text(method.value, "description"));
        let mut parameters = routes::parameters(document, &members, method);
        parameters.retain(|parameter| !shared.parameters.contains(parameter));
        page.table(routes::PARAMETER_COLUMNS, &parameters);
        add_body(&mut page, &members, request_media_type(method), "Request", REQUEST_COLUMNS);
        add_body(&mut page, &members, response_media_type(document, method), "Answer", RESPONSE_COLUMNS);
        add_errors(&mut page, document, method);
        add_examples(&mut page, request_media_type(method), "A request");
        add_examples(&mut page, response_media_type(document, method), "Its answer");
    }
    page.heading(2, "Any other method");
    for method in unknown_methods {
        routes::add_section(&mut page, document, &members, &shared, method);
    }
    page.heading(2, "Objects in several places");
    for (name, object) in members.sections() {
        page.heading(3, name);
        page.paragraph(text(object, "description"));
        page.table(RESPONSE_COLUMNS, &members.rows(object));
    }
    routes::add_sections(&mut page, document, &members, &shared);
    page.finish()
}

/// The schemas of all JSON bodies that have a table, without duplicates.
fn body_schemas<'a>(document: &'a Document, operations: &[Operation<'a>]) -> Vec<&'a Value> {
    let mut schemas = Vec::new();
    for operation in operations {
        let responses =
            document.responses(*operation).filter_map(|(_, response)| routes::success_schema(response));
        let request = request_media_type(*operation).and_then(|media_type| media_type.get("schema"));
        for schema in request.into_iter().chain(responses) {
            if !schemas.contains(&schema) {
                schemas.push(schema);
            }
        }
    }
    schemas
}

/// Adds the table of the members of a body. `media_type` is the OpenAPI media type object of the body. If it is `None`,
/// nothing is added.
fn add_body<'a>(
    page: &mut Markdown,
    members: &MemberTables<'a>,
    media_type: Option<&'a Value>,
    title: &str,
    columns: &[&str],
) {
    let Some(schema) = media_type.and_then(|media_type| media_type.get("schema")) else { return };
    page.paragraph(&format!("{title}:"));
    page.table(columns, &members.rows(schema));
}

/// Adds the table of the error responses.
fn add_errors(page: &mut Markdown, document: &Document, method: Operation<'_>) {
    let errors = document.responses(method).filter(|(status, _)| !status.starts_with('2'));
    let rows: Vec<_> = errors
        .map(|(status, response)| vec![status.to_owned(), routes::response_meaning(response)])
        .collect();
    page.table(&["HTTP", "refused with"], &rows);
}

/// Adds the examples of a body. `media_type` is the OpenAPI media type object of the body. If it is `None`, nothing is
/// added.
fn add_examples(page: &mut Markdown, media_type: Option<&Value>, title: &str) {
    let Some(media_type) = media_type else { return };
    for (_, example) in entries(media_type, "examples") {
        let summary = text(example, "summary").trim_end_matches('.');
        let title = if summary.is_empty() { title.to_owned() } else { format!("{title} ({summary})") };
        page.paragraph(&format!("{title}:"));
        page.json(example.get("value").unwrap_or(example));
    }
}

/// The name of the method, which is the last part of its path.
fn method_name(operation: Operation<'_>) -> &str {
    operation.path.rsplit('/').next().unwrap_or_default()
}

/// The OpenAPI media type object of the request. `None` if the request has no JSON body.
fn request_media_type(operation: Operation<'_>) -> Option<&Value> {
    json_content(operation.value.get("requestBody")?)
}

/// The OpenAPI media type object of the response with status 200. `None` if there is no such response, or if it has no
/// JSON body.
fn response_media_type<'a>(document: &'a Document, operation: Operation<'a>) -> Option<&'a Value> {
    let (_, response) = document.responses(operation).find(|(status, _)| *status == "200")?;
    json_content(response)
}
