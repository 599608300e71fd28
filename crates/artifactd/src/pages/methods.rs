//! `methods.md`: what can be asked of the server, and how. Must never know how it is answered.

use artifact_store_protocol::Method;
use serde_json::Value;

use super::document::{Document, Operation, entries, media_type, text};
use super::markdown::{Markdown, anchor, code};
use super::members::Members;
use super::routes::{self, ANSWERED, Common};

/// The columns of a table of members of a request.
const REQUESTED: &[&str] = &["member", "type", "required", "meaning"];

const INTRO: &str = "\
A method is `POST /v1/control/{method}` with a JSON object and `Content-Type: application/json`. A member that it does not declare
is `invalid_request`, and the message names it; `null` counts as absent. What each code means stands in [errors.md](errors.md).
The same for machines is [openapi.json](openapi.json), a document of OpenAPI 3.1.";

const TOKEN: &str = "\
Every route but those [without a token](#without-a-token) takes `Authorization: Bearer <JWT>`, and these headers:";

pub(super) fn page(document: &Document) -> String {
    let (others, mut methods): (Vec<_>, Vec<_>) =
        document.operations("control").into_iter().partition(|method| method.path.ends_with('}'));
    methods.sort_by_key(|method| Method::ALL.iter().position(|known| known.name() == name(*method)));
    let all = [methods.clone(), others.clone(), routes::all(document)].concat();
    let members = Members::new(document, &bodies(document, &all));
    let common = Common::new(document, &members, methods.first(), &all);

    let mut page = Markdown::titled("Methods and routes");
    page.say(INTRO);
    let index = methods.iter().map(|method| {
        let name = name(*method);
        vec![format!("[`{name}`](#{})", anchor(name)), text(method.value, "summary").to_owned()]
    });
    page.table(&["method", "what it does"], &index.collect::<Vec<_>>());
    routes::index(&mut page, document);
    page.say(TOKEN);
    page.table(routes::PARAMETERS, &common.parameters);
    page.say(&common.said());
    for method in methods {
        page.heading(2, &code(name(method)));
        page.say(text(method.value, "summary"));
        page.say(text(method.value, "description"));
        let mut parameters = routes::parameters(document, &members, method);
        parameters.retain(|parameter| !common.parameters.contains(parameter));
        page.table(routes::PARAMETERS, &parameters);
        body(&mut page, &members, asked(method), "Request", REQUESTED);
        body(&mut page, &members, answered(document, method), "Answer", ANSWERED);
        refusals(&mut page, document, method);
        examples(&mut page, asked(method), "A request");
        examples(&mut page, answered(document, method), "Its answer");
    }
    page.heading(2, "Any other method");
    for method in others {
        routes::section(&mut page, document, &members, &common, method);
    }
    page.heading(2, "Objects in several places");
    for (name, object) in members.sections() {
        page.heading(3, name);
        page.say(text(object, "description"));
        page.table(ANSWERED, &members.rows(object));
    }
    routes::sections(&mut page, document, &members, &common);
    page.finish()
}

/// The schemas of all bodies of JSON that get a table: each one once.
fn bodies<'a>(document: &'a Document, operations: &[Operation<'a>]) -> Vec<&'a Value> {
    let mut schemas = Vec::new();
    for operation in operations {
        let answers = document.answers(*operation).filter_map(|(_, answer)| routes::answered(answer));
        for schema in asked(*operation).and_then(|json| json.get("schema")).into_iter().chain(answers) {
            if !schemas.contains(&schema) {
                schemas.push(schema);
            }
        }
    }
    schemas
}

/// The table of a body's members.
fn body<'a>(
    page: &mut Markdown,
    members: &Members<'a>,
    json: Option<&'a Value>,
    title: &str,
    columns: &[&str],
) {
    let Some(schema) = json.and_then(|json| json.get("schema")) else { return };
    page.say(&format!("{title}:"));
    page.table(columns, &members.rows(schema));
}

fn refusals(page: &mut Markdown, document: &Document, method: Operation<'_>) {
    let refusals = document.answers(method).filter(|(status, _)| !status.starts_with('2'));
    let rows: Vec<_> =
        refusals.map(|(status, answer)| vec![status.to_owned(), routes::said(answer)]).collect();
    page.table(&["HTTP", "refused with"], &rows);
}

fn examples(page: &mut Markdown, json: Option<&Value>, title: &str) {
    let Some(json) = json else { return };
    for (_, example) in entries(json, "examples") {
        let summary = text(example, "summary").trim_end_matches('.');
        let title = if summary.is_empty() { title.to_owned() } else { format!("{title} ({summary})") };
        page.say(&format!("{title}:"));
        page.json(example.get("value").unwrap_or(example));
    }
}

/// The name of the operation's method.
fn name(operation: Operation<'_>) -> &str {
    operation.path.rsplit('/').next().unwrap_or_default()
}

fn asked(operation: Operation<'_>) -> Option<&Value> {
    media_type(operation.value.get("requestBody")?)
}

fn answered<'a>(document: &'a Document, operation: Operation<'a>) -> Option<&'a Value> {
    media_type(document.answers(operation).find(|(status, _)| *status == "200")?.1)
}
