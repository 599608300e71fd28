//! `GET /v1/events`: the events of a session, or of all tenants, as Server-Sent Events.

use std::convert::Infallible;
use std::sync::Arc;

use artifact_store_protocol::EventKind;
use artifact_store_resolver::{Delivery, SubscribeOptions, Subscription};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};

use super::access_log::{EventStreamMarker, RequestContext};
use super::auth::{VerifiedCaller, verify_subscriber};
use super::query::Query;
use super::response::{ErrorResponse, HandlerResult};
use crate::app::App;
use crate::event_stream::{GAP, KEEP_ALIVE, RETRY, TOKEN_EXPIRED, TOO_SLOW};
use crate::metrics::EventStreamMetrics;
use crate::routes::EVENTS_QUERY;
use artifact_store_identity::TokenLifetime;

const EVENT_TYPE: HeaderName = HeaderName::from_static("x-harbor-event-type");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) async fn events(app: &App, context: &RequestContext, request: Request) -> HandlerResult {
    let (verified, lifetime) = verify_subscriber(app, context, request.headers(), request.uri()).await?;
    let subscription = subscribe(app, &verified, &request)?;
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    let mut response = Sse::new(event_stream(subscription, lifetime, Arc::clone(&app.metrics.event_streams)))
        .keep_alive(keep_alive)
        .into_response();
    response.extensions_mut().insert(EventStreamMarker);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer a response would delay events.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// Checks the query and the headers of a request, and subscribes to the events.
fn subscribe(app: &App, verified: &VerifiedCaller, request: &Request) -> Result<Subscription, ErrorResponse> {
    let mut query = Query::parse(request.uri().query(), EVENTS_QUERY)?;
    let all_tenants = match query.take("admin").as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => {
            return Err(ErrorResponse::invalid("the query parameter `admin` is not legal; it takes 0 or 1"));
        }
    };
    let kinds = parse_kinds(request.headers())?;
    let last_event_id = request.headers().get(LAST_EVENT_ID);
    // An id that is not visible ASCII belongs to no event. Such an id is replaced by `?`, which also belongs to no
    // event.
    let last_event_id = last_event_id.map(|id| id.to_str().unwrap_or("?").to_owned());
    // An empty header counts as absent.
    let last_event_id = last_event_id.filter(|id| !id.is_empty());
    Ok(app.resolver.subscribe(verified.caller(), SubscribeOptions { all_tenants, kinds, last_event_id })?)
}

/// Returns the requested event types. An empty list means all types.
fn parse_kinds(headers: &HeaderMap) -> Result<Vec<EventKind>, ErrorResponse> {
    let mut kinds = Vec::new();
    for value in headers.get_all(EVENT_TYPE) {
        // A value that is not visible ASCII becomes `?`, which is not a type, so the request is refused.
        let names = value.to_str().unwrap_or("?").split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            kinds.push(EventKind::from_name(name).ok_or_else(unknown_kind)?);
        }
    }
    Ok(kinds)
}

/// Returns the error for an event type that does not exist.
fn unknown_kind() -> ErrorResponse {
    let legal: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    ErrorResponse::invalid(format!(
        "the header X-Harbor-Event-Type is not legal; it takes {}",
        legal.join(", ")
    ))
}

/// Returns the stream for a subscriber. The stream begins with the SSE field `retry`: after the end of the stream, a
/// client waits for this time before it reconnects. The stream ends when the token is no longer valid, or the
/// subscription ends.
fn event_stream(
    subscription: Subscription,
    lifetime: TokenLifetime,
    metrics: Arc<EventStreamMetrics>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let retry_time = stream::once(async { Event::default().retry(RETRY) });
    // The state of the stream between two events. `None`: the stream ends.
    let state = Some((subscription, Box::pin(lifetime.ended()), metrics));
    let events = stream::unfold(state, async |state| {
        let (mut subscription, mut ended, metrics) = state?;
        let delivery = tokio::select! {
            // Biased: if the token is no longer valid, pending events must not be delivered.
            biased;
            () = &mut ended => return Some((Event::default().comment(TOKEN_EXPIRED), None)),
            delivery = subscription.next() => delivery?,
        };
        metrics.count_delivery(&delivery);
        let event = match delivery {
            Delivery::Gap => Event::default().comment(GAP),
            Delivery::TooSlow => Event::default().comment(TOO_SLOW),
            Delivery::Event(event) => {
                let data = serde_json::to_string(&event.data).unwrap_or_default();
                Event::default().id(&event.id).event(event.data.kind.as_str()).data(data)
            }
        };
        Some((event, Some((subscription, ended, metrics))))
    });
    retry_time.chain(events).map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<Vec<EventKind>, ErrorResponse> {
        parse_kinds(&values.iter().map(|value| (EVENT_TYPE, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn types_are_read_from_repeated_and_comma_separated_headers() {
        let kinds = read(&["artifacts.uploaded, artifacts.deleted", "audit.admin_scope_used"]).unwrap();
        assert_eq!(kinds, EventKind::ALL);
        assert_eq!(read(&[]).unwrap(), []);
        assert_eq!(read(&[" ,"]).unwrap(), []);
    }

    #[test]
    fn the_error_for_an_unknown_type_names_the_legal_types_and_not_the_unknown_one() {
        let refused = format!("{:?}", read(&["artifacts.uploaded,task.started"]).unwrap_err());
        assert!(refused.contains("artifacts.deleted") && !refused.contains("task.started"));
    }
}
