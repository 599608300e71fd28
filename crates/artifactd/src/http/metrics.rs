//! `GET /metrics`: what the server counts, for Prometheus and whoever reads its formats. Without a token, so without anything of
//! a tenant.
//!
//! It asks neither the store nor anything else that may be away.

use std::fmt;
use std::sync::Arc;

use artifact_store_protocol::Code;
use artifact_store_resolver::Refusal;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::App;
use super::answer::Answer;
use super::kind::RequestKind;
use super::query::Query;
use crate::metrics::{Families, Family, Format};

pub(super) async fn metrics(State(app): State<Arc<App>>, request: Request) -> Answer {
    Query::read(request.uri().query(), &[])?;
    let format = asked(request.headers());
    let collector = Box::new(Snapshot(Arc::clone(&app)));
    let text = app.metrics.exposition.text(format, collector).map_err(|error| {
        Refusal::new(Code::RuntimeError, "the runtime failed; its log says why under this request's id")
            .because(error)
    })?;
    let mut response = Response::new(Body::from(text));
    let fields = response.headers_mut();
    let kind = format!("{}; version={}; charset=utf-8", format.essence(), format.version());
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        fields.insert(CONTENT_TYPE, kind);
    }
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// All families, as they are when they are asked for.
#[derive(Debug)]
struct Snapshot(Arc<App>);

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(app) = self;
        let mut families = Families::new(encoder);
        FAMILIES.iter().try_for_each(|encode| encode(app, &mut families))
    }
}

/// Whoever has something to tell: a function that reads it from the app and writes its families.
const FAMILIES: &[fn(&App, &mut Families<'_>) -> fmt::Result] = &[
    |app, families| app.metrics.requests.encode(families, *app.in_flight.borrow() as u64),
    |app, families| app.metrics.connections.encode(families),
    connections,
    |app, families| app.metrics.event_streams.encode(families),
    events,
    |_, families| log(families),
    |app, families| app.metrics.store.as_ref().map_or(Ok(()), |store| store.encode(families)),
    keys,
    |app, families| app.metrics.process.encode(families),
    |_, families| build(families),
];

fn connections(app: &App, families: &mut Families<'_>) -> fmt::Result {
    let counts = app.connection_counts();
    let serving = RequestKind::ALL.map(|kind| (kind.word(), counts.serving(kind)));
    let waiting = [("first_head", counts.first_head), ("idle", counts.idle), ("queued", counts.queued)];
    let rows = serving.into_iter().chain(waiting).map(|(state, count)| ([("state", state)], count as u64));
    families
        .gauges(Family::new("artifactd_connections", "Connections that are open, by what they do."), rows)?;
    families.counter(
        Family::new(
            "artifactd_connections_evicted",
            "Connections without a request that went for a newcomer.",
        ),
        counts.evicted,
    )?;
    families.counter(
        Family::new(
            "artifactd_connections_refused",
            "Connections that were answered 429, because all were taken.",
        ),
        counts.refused,
    )
}

fn events(app: &App, families: &mut Families<'_>) -> fmt::Result {
    let counts = app.resolver.event_counts();
    families.counter(
        Family::new("artifactd_event_streams_refused", "Event streams that a bound on their number refused."),
        counts.refused_subscribers,
    )?;
    families.gauge(
        Family::new("artifactd_events_held", "Events that are kept for subscribers that come back."),
        &(counts.kept_events as u64),
    )?;
    families.gauge(
        Family::bytes("artifactd_events_held", "What these take in memory, about."),
        &(counts.kept_bytes as u64),
    )
}

fn log(families: &mut Families<'_>) -> fmt::Result {
    let counts = crate::log::counts();
    families.counter(
        Family::new("artifactd_log_lines_written", "Lines of the log that were written."),
        counts.written,
    )?;
    families.counters(
        Family::new("artifactd_log_lines_dropped", "Lines of the log that were dropped."),
        [
            ([("reason", "queue_full")], counts.dropped_full),
            ([("reason", "unwritable")], counts.dropped_unwritable),
        ],
    )
}

fn keys(app: &App, families: &mut Families<'_>) -> fmt::Result {
    let refreshes = app.verifier.refreshes();
    families.counter(
        Family::new(
            "artifactd_jwks_refreshes",
            "Sets of keys that were taken over from the file or the provider.",
        ),
        refreshes.done,
    )?;
    families.counter(
        Family::new(
            "artifactd_jwks_refresh_failures",
            "Refreshes of the keys that failed; the keys from before stayed.",
        ),
        refreshes.failed,
    )
}

fn build(families: &mut Families<'_>) -> fmt::Result {
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("commit", env!("ARTIFACTD_COMMIT"))];
    families.info(Family::new("artifactd_build", "Which build this is."), &labels)
}

/// The format that the client likes best; that of Prometheus where it does not say, and of two that it likes equally well the
/// newer one.
fn asked(headers: &HeaderMap) -> Format {
    let liked = |format: Format| {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(','));
        ranges.filter_map(|range| weight(range, format)).fold(0.0, f32::max)
    };
    let open = liked(Format::OpenMetrics);
    if open > 0.0 && open >= liked(Format::Prometheus) { Format::OpenMetrics } else { Format::Prometheus }
}

/// How much a media range wants a format that it names; `None` where it names another, or another version.
fn weight(range: &str, format: Format) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(format.essence()) {
        return None;
    }
    let mut weight = 1.0;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => weight = value.parse().unwrap_or(0.0),
            "version" if value != format.version() => return None,
            _ => {}
        }
    }
    Some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_the_client_likes_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\", text/plain", Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.8", Format::Prometheus),
            ("application/openmetrics-text;version=0.0.1, text/plain;q=0.1", Format::Prometheus),
            ("application/openmetrics-text;version=2.0.0", Format::Prometheus),
            ("application/openmetrics-text;q=0, */*", Format::Prometheus),
            ("application/openmetrics-text;q=much", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html", Format::Prometheus),
            (";;,=;q,", Format::Prometheus),
            ("", Format::Prometheus),
        ] {
            let headers = [(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(asked(&headers), format, "{accept}");
        }
        assert_eq!(asked(&HeaderMap::new()), Format::Prometheus);
    }
}
