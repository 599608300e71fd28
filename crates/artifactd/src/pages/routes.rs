//! The part of `methods.md` about the routes that are not methods: bytes, events, probes. This module must never know
//! how a route is served.

use std::collections::{BTreeMap, BTreeSet};

use artifact_store_protocol::Code;
use serde_json::Value;

use super::document::{Document, Operation, entries, items, json_content, text};
use super::markdown::{Markdown, anchor, code, one_line, yes_or_no};
use super::members::MemberTables;

/// The tags of these routes, and their headings.
const TAGS: &[(&str, &str)] =
    &[("bytes", "The byte plane"), ("events", "Events"), ("probes", "Without a token")];

/// The columns of a table of parameters.
pub(super) const PARAMETER_COLUMNS: &[&str] = &["parameter", "in", "type", "required", "meaning"];
/// The columns of a table of members of a response.
pub(super) const RESPONSE_COLUMNS: &[&str] = &["member", "type", "always", "meaning"];

/// The parameters and headers that many routes share. The page describes each of them once.
#[derive(Debug)]
pub(super) struct SharedParts {
    /// The rows of the parameters.
    pub(super) parameters: Vec<Vec<String>>,
    /// The names of the headers of every response.
    headers: BTreeSet<String>,
}

impl SharedParts {
    /// The shared parameters are those of the operation `first`. The shared headers are those of every response of every
    /// operation in `all`.
    pub(super) fn new<'a>(
        document: &'a Document,
        members: &MemberTables<'a>,
        first: Option<&Operation<'a>>,
        all: &[Operation<'a>],
    ) -> Self {
        let parameters = first.map(|first| parameters(document, members, *first)).unwrap_or_default();
        let mut responses = all.iter().flat_map(|operation| document.responses(*operation));
        let header_names = |response: &Value| -> BTreeSet<String> {
            entries(response, "headers").map(|(name, _)| name.to_owned()).collect()
        };
        let first_response = responses.next();
        let mut headers = first_response.map(|(_, response)| header_names(response)).unwrap_or_default();
        for (_, response) in responses {
            let present = header_names(response);
            headers.retain(|name| present.contains(name));
        }
        Self { parameters, headers }
    }

    /// The sentence about the headers of every response.
    pub(super) fn headers_sentence(&self) -> String {
        let names: Vec<_> = self.headers.iter().map(code).collect();
        format!("Every response has the header {}.", names.join(", "))
    }
}

/// The operations that are not methods.
pub(super) fn all(document: &Document) -> Vec<Operation<'_>> {
    TAGS.iter().flat_map(|(tag, _)| document.operations(tag)).collect()
}

/// Adds a table of the routes with links to their sections.
pub(super) fn add_index(page: &mut Markdown, document: &Document) {
    let mut rows = Vec::new();
    for route in all(document) {
        let title = title(route);
        rows.push(vec![format!("[{title}](#{})", anchor(&title)), text(route.value, "summary").to_owned()]);
    }
    page.table(&["route", "what it does"], &rows);
}

/// Adds the sections of the routes.
pub(super) fn add_sections<'a>(
    page: &mut Markdown,
    document: &'a Document,
    members: &MemberTables<'a>,
    shared: &SharedParts,
) {
    for (tag, heading) in TAGS {
        page.heading(2, heading);
        for route in document.operations(tag) {
            add_section(page, document, members, shared, route);
        }
    }
}

/// Adds the section of one route: its summary, description, parameters, body and responses.
pub(super) fn add_section<'a>(
    page: &mut Markdown,
    document: &'a Document,
    members: &MemberTables<'a>,
    shared: &SharedParts,
    route: Operation<'a>,
) {
    page.heading(3, &title(route));
    page.paragraph(text(route.value, "summary"));
    page.paragraph(text(route.value, "description"));
    let mut parameters = parameters(document, members, route);
    parameters.retain(|parameter| !shared.parameters.contains(parameter));
    page.table(PARAMETER_COLUMNS, &parameters);
    if let Some(body) = route.value.get("requestBody") {
        let types: Vec<_> = entries(body, "content").map(|(name, _)| code(name)).collect();
        page.paragraph(&format!("Body ({}): {}", types.join(", "), one_line(text(body, "description"))));
    }
    let responses = document
        .responses(route)
        .map(|(status, response)| vec![status.to_owned(), response_meaning(response)]);
    page.table(&["HTTP", "when"], &responses.collect::<Vec<_>>());
    page.table(&["header of the answer", "with", "meaning"], &headers(document, shared, route));
    let mut schemas: Vec<_> =
        document.responses(route).filter_map(|(_, response)| success_schema(response)).collect();
    schemas.dedup();
    for schema in schemas {
        let rows = members.rows(schema);
        if !rows.is_empty() {
            page.paragraph("The JSON of the answer:");
            page.table(RESPONSE_COLUMNS, &rows);
        }
    }
}

/// The rows of the parameters of a route.
pub(super) fn parameters<'a>(
    document: &'a Document,
    members: &MemberTables<'a>,
    route: Operation<'a>,
) -> Vec<Vec<String>> {
    let declared = items(route.value, "parameters").iter().map(|parameter| {
        let parameter = document.resolve(parameter).value;
        let schema = parameter.get("schema").unwrap_or(&Value::Null);
        let type_text = match schema.get("items") {
            Some(item) => format!("{}; may be repeated", members.type_text(item)),
            None => members.type_text(schema),
        };
        (parameter, type_text)
    });
    // A token in the query is a security scheme in the OpenAPI document. For a client it is a parameter.
    let schemes = document.security_schemes(route).into_iter();
    let query_tokens = schemes.filter(|scheme| text(scheme, "type") == "apiKey");
    let mut rows: Vec<_> = declared.chain(query_tokens.map(|token| (token, "string".to_owned()))).collect();
    let locations = ["path", "query", "header"];
    rows.sort_by_key(|(parameter, _)| {
        locations.iter().position(|location| text(parameter, "in") == *location)
    });
    let rows = rows.into_iter().map(|(parameter, type_text)| {
        vec![
            code(text(parameter, "name")),
            text(parameter, "in").to_owned(),
            type_text,
            yes_or_no(parameter.get("required").is_some_and(|required| required == true)),
            text(parameter, "description").to_owned(),
        ]
    });
    rows.collect()
}

/// The schema of a JSON response. `None` if the response is an error or has no JSON.
pub(super) fn success_schema(response: &Value) -> Option<&Value> {
    let schema = json_content(response)?.get("schema")?;
    // Every error response has the schema `Envelope`.
    (!text(schema, "$ref").ends_with("/Envelope")).then_some(schema)
}

/// The description of a response, for a cell of a table. If a paragraph is only the general description of an error
/// code, the name of the code replaces the paragraph.
pub(super) fn response_meaning(response: &Value) -> String {
    let parts = text(response, "description").split("\n\n").map(|part| {
        let general =
            Code::ALL.iter().find(|name| part == format!("`{name}`: {}", name.descriptor().description));
        general.map_or_else(|| one_line(part), code)
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The rows of the headers of the responses, without the shared headers. If several responses have a header with the
/// same name and meaning, the header has one row.
fn headers(document: &Document, shared: &SharedParts, route: Operation<'_>) -> Vec<Vec<String>> {
    let mut statuses_by_header: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (status, response) in document.responses(route) {
        for (name, header) in entries(response, "headers").filter(|(name, _)| !shared.headers.contains(*name))
        {
            let header = document.resolve(header).value;
            statuses_by_header.entry((name, text(header, "description"))).or_default().push(status);
        }
    }
    let response_count = document.responses(route).count();
    let statuses_text = |statuses: &[&str]| {
        if statuses.len() == response_count { "every answer".to_owned() } else { statuses.join(", ") }
    };
    let rows = statuses_by_header
        .iter()
        .map(|((name, meaning), statuses)| vec![code(name), statuses_text(statuses), (*meaning).to_owned()]);
    rows.collect()
}

/// The verb and the path of a route, as inline code.
fn title(route: Operation<'_>) -> String {
    code(format!("{} {}", route.verb.to_uppercase(), route.path))
}
