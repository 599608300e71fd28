//! `GET /v1/events`: what happens, as Server-Sent Events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_protocol::EventKind;
use artifact_store_resolver::{Delivery, Subscribe, Subscription};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};

use super::App;
use super::answer::{Answer, Refused};
use super::auth::{StreamVerified, Verified};
use super::field::{Field, Takes};
use super::observe::Endless;
use super::query::Query;
use crate::identity::TokenLifetime;
use crate::metrics::EventStreamMetrics;

const EVENT_TYPE: HeaderName = HeaderName::from_static("x-harbor-event-type");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How long a client should wait before it connects again.
pub(crate) const RETRY: Duration = Duration::from_secs(3);
/// How often a quiet stream shows that it lives.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What is said where events were lost.
pub(crate) const GAP: &str = "stream.replay_unavailable";
/// What is said last to a subscriber that reads too slowly.
pub(crate) const TOO_SLOW: &str = "stream.subscriber_too_slow";

/// What is said last where the token has expired, or its key is withdrawn.
pub(crate) const TOKEN_EXPIRED: &str = "stream.token_expired";

/// What stands in the query.
pub(super) const QUERY: &[Field] = &[
    Field::once(
        "access_token",
        Takes::Text,
        "The token, for browsers' `EventSource`, which sends no headers; counts only without `authorization`. Never logged.",
    ),
    Field::once(
        "admin",
        Takes::Words(&["0", "1"]),
        "`1` hears every tenant; it takes the scope `admin` or `console:fleet`, and is audited.",
    ),
];

/// What the handler reads of the headers.
pub(super) const HEADERS: &[Field] = &[
    Field::many(
        "x-harbor-event-type",
        Takes::Words(KINDS),
        "Narrows the stream to these types; absent: all.",
    ),
    Field::once(
        "last-event-id",
        Takes::Text,
        "The id of the last event that was heard: the stream goes on after it.",
    ),
];

/// The words of [`EventKind`].
const KINDS: &[&str] = &[
    EventKind::ArtifactsUploaded.word(),
    EventKind::ArtifactsDeleted.word(),
    EventKind::AuditAdminScopeUsed.word(),
];

// A type more is a word more.
const _: () = assert!(KINDS.len() == EventKind::ALL.len());

pub(super) async fn events(
    State(app): State<Arc<App>>,
    StreamVerified(verified, lifetime): StreamVerified,
    request: Request,
) -> Answer {
    let subscription = subscribe(&app, &verified, &request)?;
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    let mut response = Sse::new(told(subscription, lifetime, Arc::clone(&app.metrics.event_streams)))
        .keep_alive(keep_alive)
        .into_response();
    response.extensions_mut().insert(Endless);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect a response before they pass it on would hold events back.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

fn subscribe(app: &App, verified: &Verified, request: &Request) -> Result<Subscription, Refused> {
    let mut query = Query::read(request.uri().query(), QUERY)?;
    let admin = match query.take("admin").as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(Refused::invalid("the query parameter `admin` is not legal; it takes 0 or 1")),
    };
    let kinds = kinds(request.headers())?;
    let last_event_id = request.headers().get(LAST_EVENT_ID);
    // An id that is no text is one that the ring does not hold.
    let last_event_id = last_event_id.map(|id| id.to_str().unwrap_or("?").to_owned());
    let last_event_id = last_event_id.filter(|id| !id.is_empty());
    Ok(app.resolver.subscribe(verified.caller(), Subscribe { admin, kinds, last_event_id })?)
}

/// The types that a stream is narrowed to; none: all.
fn kinds(headers: &HeaderMap) -> Result<Vec<EventKind>, Refused> {
    let mut kinds = Vec::new();
    for value in headers.get_all(EVENT_TYPE) {
        for word in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let kind = EventKind::from_word(word).ok_or_else(|| {
                let legal: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.word()).collect();
                Refused::invalid(format!(
                    "the header X-Harbor-Event-Type is not legal; it takes {}",
                    legal.join(", ")
                ))
            })?;
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// What a subscriber is told, as long as its token is right.
fn told(
    subscription: Subscription,
    lifetime: TokenLifetime,
    metrics: Arc<EventStreamMetrics>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let first = stream::once(async { Event::default().retry(RETRY) });
    let open = Some((subscription, Box::pin(lifetime.ended()), metrics));
    let rest = stream::unfold(open, async |open| {
        let (mut subscription, mut ended, metrics) = open?;
        let delivery = tokio::select! {
            // Who may not hear events any more does not hear those that wait either.
            biased;
            () = &mut ended => return Some((Event::default().comment(TOKEN_EXPIRED), None)),
            delivery = subscription.next() => delivery?,
        };
        metrics.delivered(&delivery);
        let event = match delivery {
            Delivery::Gap => Event::default().comment(GAP),
            Delivery::TooSlow => Event::default().comment(TOO_SLOW),
            Delivery::Event(event) => {
                let data = serde_json::to_string(&event.data).unwrap_or_default();
                Event::default().id(&event.id).event(event.data.kind.word()).data(data)
            }
        };
        Some((event, Some((subscription, ended, metrics))))
    });
    first.chain(rest).map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<Vec<EventKind>, Refused> {
        kinds(&values.iter().map(|value| (EVENT_TYPE, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn types_are_read_from_repeated_and_comma_separated_headers() {
        let kinds = read(&["artifacts.uploaded, artifacts.deleted", "audit.admin_scope_used"]).unwrap();
        assert_eq!(kinds, EventKind::ALL);
        assert_eq!(read(&[]).unwrap(), []);
        assert_eq!(read(&[" ,"]).unwrap(), []);
    }

    #[test]
    fn an_unknown_type_is_refused_with_the_legal_ones() {
        let refused = format!("{:?}", read(&["artifacts.uploaded,task.started"]).unwrap_err());
        assert!(refused.contains("artifacts.deleted") && !refused.contains("task.started"));
    }
}
