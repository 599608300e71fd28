//! The part of `methods.md` about what is no method: bytes, events, probes. Must never know how a route is served.

use std::collections::{BTreeMap, BTreeSet};

use artifact_store_protocol::Code;
use serde_json::Value;

use super::document::{Document, Operation, entries, items, media_type, text};
use super::markdown::{Markdown, anchor, code, one_line};
use super::members::{Members, yes_or_no};

/// The tags of these routes, and their headings.
const TAGS: &[(&str, &str)] =
    &[("bytes", "The byte plane"), ("events", "Events"), ("probes", "Without a token")];

/// The columns of a table of parameters.
pub(super) const PARAMETERS: &[&str] = &["parameter", "in", "type", "required", "meaning"];
/// The columns of a table of members of an answer.
pub(super) const ANSWERED: &[&str] = &["member", "type", "always", "meaning"];

/// What is the same for many routes, and told once.
#[derive(Debug)]
pub(super) struct Common {
    /// Rows of parameters.
    pub(super) parameters: Vec<Vec<String>>,
    /// Headers of every answer.
    headers: BTreeSet<String>,
}

impl Common {
    /// The parameters of `first`, and what every answer of `all` carries.
    pub(super) fn new<'a>(
        document: &'a Document,
        members: &Members<'a>,
        first: Option<&Operation<'a>>,
        all: &[Operation<'a>],
    ) -> Self {
        let parameters = first.map(|first| parameters(document, members, *first)).unwrap_or_default();
        let mut answers = all.iter().flat_map(|operation| document.answers(*operation));
        let names = |answer| entries(answer, "headers").map(|(name, _)| name.to_owned()).collect();
        let mut headers: BTreeSet<String> =
            answers.next().map(|(_, answer)| names(answer)).unwrap_or_default();
        for (_, answer) in answers {
            let there: BTreeSet<_> = names(answer);
            headers.retain(|name| there.contains(name));
        }
        Self { parameters, headers }
    }

    /// The names of the headers of every answer.
    pub(super) fn said(&self) -> String {
        let names: Vec<_> = self.headers.iter().map(code).collect();
        format!("Every answer carries {}.", names.join(", "))
    }
}

/// The operations that are no methods.
pub(super) fn all(document: &Document) -> Vec<Operation<'_>> {
    TAGS.iter().flat_map(|(tag, _)| document.operations(tag)).collect()
}

/// The routes with links to their sections.
pub(super) fn index(page: &mut Markdown, document: &Document) {
    let mut rows = Vec::new();
    for route in all(document) {
        let title = title(route);
        rows.push(vec![format!("[{title}](#{})", anchor(&title)), text(route.value, "summary").to_owned()]);
    }
    page.table(&["route", "what it does"], &rows);
}

/// The routes' sections.
pub(super) fn sections<'a>(
    page: &mut Markdown,
    document: &'a Document,
    members: &Members<'a>,
    common: &Common,
) {
    for (tag, heading) in TAGS {
        page.heading(2, heading);
        for route in document.operations(tag) {
            section(page, document, members, common, route);
        }
    }
}

/// The section of one route.
pub(super) fn section<'a>(
    page: &mut Markdown,
    document: &'a Document,
    members: &Members<'a>,
    common: &Common,
    route: Operation<'a>,
) {
    page.heading(3, &title(route));
    page.say(text(route.value, "summary"));
    page.say(text(route.value, "description"));
    let mut parameters = parameters(document, members, route);
    parameters.retain(|parameter| !common.parameters.contains(parameter));
    page.table(PARAMETERS, &parameters);
    if let Some(body) = route.value.get("requestBody") {
        let types: Vec<_> = entries(body, "content").map(|(name, _)| code(name)).collect();
        page.say(&format!("Body ({}): {}", types.join(", "), one_line(text(body, "description"))));
    }
    let answers = document.answers(route).map(|(status, answer)| vec![status.to_owned(), said(answer)]);
    page.table(&["HTTP", "when"], &answers.collect::<Vec<_>>());
    page.table(&["header of the answer", "with", "meaning"], &headers(document, common, route));
    let mut schemas: Vec<_> = document.answers(route).filter_map(|(_, answer)| answered(answer)).collect();
    schemas.dedup();
    for schema in schemas {
        let rows = members.rows(schema);
        page.say(if rows.is_empty() { "" } else { "The JSON of the answer:" });
        page.table(ANSWERED, &rows);
    }
}

/// The rows of what stands beside a body.
pub(super) fn parameters<'a>(
    document: &'a Document,
    members: &Members<'a>,
    route: Operation<'a>,
) -> Vec<Vec<String>> {
    let declared = items(route.value, "parameters").iter().map(|parameter| {
        let parameter = document.follow(parameter).value;
        let schema = parameter.get("schema").unwrap_or(&Value::Null);
        let kind = match schema.get("items") {
            Some(each) => format!("{}; may be repeated", members.words(each)),
            None => members.words(schema),
        };
        (parameter, kind)
    });
    // A token in the query is a parameter for whoever writes one.
    let tokens = document.tokens(route).into_iter().filter(|token| text(token, "type") == "apiKey");
    let mut rows: Vec<_> = declared.chain(tokens.map(|token| (token, "string".to_owned()))).collect();
    let places = ["path", "query", "header"];
    rows.sort_by_key(|(parameter, _)| places.iter().position(|place| text(parameter, "in") == *place));
    let rows = rows.into_iter().map(|(parameter, kind)| {
        vec![
            code(text(parameter, "name")),
            text(parameter, "in").to_owned(),
            kind,
            yes_or_no(parameter.get("required").is_some_and(|is| is == true)),
            text(parameter, "description").to_owned(),
        ]
    });
    rows.collect()
}

/// The schema of an answer that is JSON and no refusal.
pub(super) fn answered(answer: &Value) -> Option<&Value> {
    let schema = media_type(answer)?.get("schema")?;
    (!text(schema, "$ref").ends_with("/Envelope")).then_some(schema)
}

/// When an answer is given. A code that means here what it means anywhere stands for itself.
pub(super) fn said(answer: &Value) -> String {
    let told = text(answer, "description").split("\n\n").map(|told| {
        let usual = Code::ALL.iter().find(|word| told == format!("`{word}`: {}", word.descriptor().when));
        usual.map_or_else(|| one_line(told), code)
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The headers of the answers: those of one meaning are one row.
fn headers(document: &Document, common: &Common, route: Operation<'_>) -> Vec<Vec<String>> {
    let mut found: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (status, answer) in document.answers(route) {
        for (name, header) in entries(answer, "headers").filter(|(name, _)| !common.headers.contains(*name)) {
            let header = document.follow(header).value;
            found.entry((name, text(header, "description"))).or_default().push(status);
        }
    }
    let all = document.answers(route).count();
    let with = |statuses: &[&str]| {
        if statuses.len() == all { "every answer".to_owned() } else { statuses.join(", ") }
    };
    let rows = found
        .iter()
        .map(|((name, meaning), statuses)| vec![code(name), with(statuses), (*meaning).to_owned()]);
    rows.collect()
}

fn title(route: Operation<'_>) -> String {
    code(format!("{} {}", route.verb.to_uppercase(), route.path))
}
