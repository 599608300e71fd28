//! `events.md`: the event stream, its frames and the types of events. This module must never know a subscriber.

use std::borrow::Cow;
use std::fmt::Write as _;

use artifact_store::core::{Digest, Source, Timestamp};
use artifact_store::{PutOptions, Record, Scope, StoreError};
use artifact_store_protocol::{EventData, EventKind, EventPayload};
use artifact_store_server::event_stream::{GAP, KEEP_ALIVE, RETRY, TOKEN_EXPIRED, TOO_SLOW};
use serde_json::{Value, json};

use super::document::{Document, items, text};
use super::markdown::{Markdown, code};
use super::members::MemberTables;
use super::routes;

const INTRO: &str = "\
`GET /v1/events` is a stream of Server-Sent Events: the events of your session. An event describes an artifact and never contains
its bytes.";

const FRAMES: &str = "\
Each event has an `id`, its type as `event`, and `data`, which is one line of JSON. Lines that begin with a colon are comments.";

pub(super) fn page(document: &Document) -> Result<String, StoreError> {
    let mut page = Markdown::with_title("Events");
    page.paragraph(INTRO);
    let kinds = EventKind::ALL.iter().map(|kind| vec![code(kind), kind.description().to_owned()]);
    page.table(&["type", "meaning"], &kinds.collect::<Vec<_>>());
    page.heading(2, "How to subscribe");
    let members = MemberTables::new(document, &[]);
    for stream in document.operations("events") {
        page.table(routes::PARAMETER_COLUMNS, &routes::parameters(document, &members, stream));
    }
    page.paragraph(
        "The uploads of your session, as they happen, with what [the first steps](../protocol.md#first-steps-with-curl) set:",
    );
    page.block(
        "sh",
        "curl -sSN -H \"$AUTH\" -H 'X-Harbor-Event-Type: artifacts.uploaded' \"$URL/v1/events\"",
    );
    page.paragraph("After a lost connection, send the last `id` that you received as `Last-Event-ID`. Browsers do so by themselves.");
    page.heading(2, "The format");
    let (retry, keep_alive) = (RETRY.as_millis(), KEEP_ALIVE.as_secs());
    page.paragraph(&format!(
        "{FRAMES}\nA stream begins with `retry: {retry}`, and has the comment `: keep-alive` every {keep_alive} seconds while there are no events."
    ));
    let mut frames = format!("retry: {retry}\n\n");
    for (number, kind) in (1_u64..).zip(EventKind::ALL) {
        // Serializing plain data cannot fail, and writing into a `String` cannot fail.
        let data = serde_json::to_string(&sample(*kind)?).unwrap_or_default();
        // In the example, the ids are multiples of this number.
        let id = number * 0x0123_4567_89ab_cdef;
        let _ = write!(frames, "id: {id:016x}\nevent: {kind}\ndata: {data}\n\n");
    }
    frames.push_str(": keep-alive\n");
    page.block("text", &frames);
    page.heading(2, "Comments");
    page.paragraph("These comments mean that events were lost, or that the stream ends.");
    page.table(&["comment", "meaning"], &comments());
    data_section(&mut page, document)?;
    Ok(page.finish())
}

/// The rows of the comments that a stream can contain, without the keep-alive comment.
fn comments() -> Vec<Vec<String>> {
    [
        (GAP, "Events between the last one that you received and the next one are lost. List the artifacts again."),
        (
            TOO_SLOW,
            "The end of a stream that was read too slowly. Connect again with `Last-Event-ID`.",
        ),
        (
            TOKEN_EXPIRED,
            "The end of a stream whose token has expired, or whose key was withdrawn. Connect again with a fresh token and \
             `Last-Event-ID`.",
        ),
    ]
    .into_iter()
    .map(|(comment, meaning)| vec![code(comment), meaning.into()])
    .collect()
}

/// Adds the tables of the members of `data`, and of the members of the payload of each type.
fn data_section(page: &mut Markdown, document: &Document) -> Result<(), StoreError> {
    page.heading(2, "Data");
    let Some(schema) = document.schema("EventData") else { return Ok(()) };
    let alternatives = document.schema("EventPayload").map_or(&[][..], |payload| items(payload, "oneOf"));
    let payloads: Vec<&Value> =
        alternatives.iter().map(|alternative| document.resolve(alternative).value).collect();
    let roots = [vec![schema], payloads.clone()].concat();
    let members = MemberTables::new(document, &roots);
    page.paragraph(text(schema, "description"));
    page.table(routes::RESPONSE_COLUMNS, &members.rows(schema));
    for kind in EventKind::ALL {
        let sample = json!(sample(*kind)?.payload);
        page.heading(3, &format!("The payload of {}", code(kind)));
        if let Some(payload) = payloads.iter().find(|payload| declares_members(payload, &sample)) {
            page.table(routes::RESPONSE_COLUMNS, &members.rows(payload));
        }
    }
    for (name, object) in members.sections() {
        page.heading(3, name);
        page.paragraph(text(object, "description"));
        page.table(routes::RESPONSE_COLUMNS, &members.rows(object));
    }
    Ok(())
}

/// Whether the schema `payload` declares all members of `sample`.
fn declares_members(payload: &Value, sample: &Value) -> bool {
    let declared =
        |name: &String| payload.get("properties").is_some_and(|members| members.get(name).is_some());
    sample.as_object().is_some_and(|members| members.keys().all(declared))
}

/// An example of an event of this type.
fn sample(kind: EventKind) -> Result<EventData, StoreError> {
    let scope = Scope::new("acme", "ada", "s-1")?;
    let occurred_at: Timestamp = "2026-01-02T03:04:05.000006Z".parse()?;
    let options = PutOptions {
        media_type: Some("text/csv".into()),
        filename: Some("report.csv".into()),
        source: Source::Tool,
        tags: vec!["q3".into()],
        ..PutOptions::default()
    };
    let record = Record::new(scope.clone(), options, Digest::of(b"a,b\n1,2\n"), 8, occurred_at);
    let payload = match kind {
        EventKind::ArtifactsUploaded => EventPayload::Uploaded {
            artifact: record.artifact_ref(),
            tags: record.options.tags,
            source: record.options.source,
            created_at: record.created_at,
        },
        EventKind::ArtifactsDeleted => EventPayload::Deleted { id: record.id },
        EventKind::AuditAdminScopeUsed => EventPayload::AdminScopeUsed {
            method: Cow::Borrowed("artifacts.delete"),
            admin_scope: Cow::Borrowed("admin"),
            target_tenant: Some("globex".into()),
            target_user: Some("bob".into()),
            target_session: Some("s-9".into()),
        },
    };
    Ok(EventData { kind, occurred_at, scope, payload })
}
