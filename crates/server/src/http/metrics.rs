//! `GET /metrics`: all counts of the server, in the Prometheus or the `OpenMetrics` format. The route needs no token,
//! so the text must never show anything of a tenant.
//!
//! The handler does not call the store, or anything else that may be unavailable.

use std::fmt;
use std::sync::Arc;

use artifact_store_protocol::Code;
use artifact_store_resolver::Refusal;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::query::reject_parameters;
use super::response::HandlerResult;
use crate::app::App;
use crate::metrics::{Families, Family, Format};
use crate::request_kind::RequestKind;

pub(super) fn metrics(app: &Arc<App>, request: &Request) -> HandlerResult {
    reject_parameters(request.uri().query())?;
    let format = negotiate_format(request.headers());
    let collector = Box::new(MetricsCollector(Arc::clone(app)));
    let text = app.metrics.exposition.text(format, collector).map_err(|error| {
        Refusal::new(Code::RuntimeError, "the runtime failed; its log says why under this request's id")
            .with_cause(error)
    })?;
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    let content_type = format!("{}; version={}; charset=utf-8", format.essence(), format.version());
    if let Ok(content_type) = HeaderValue::from_str(&content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Collects all metric families at the time of a request.
#[derive(Debug)]
struct MetricsCollector(Arc<App>);

impl Collector for MetricsCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(app) = self;
        let mut families = Families::new(encoder);
        FAMILY_ENCODERS.iter().try_for_each(|encode| encode(app, &mut families))
    }
}

/// The functions that write the metric families. Each function writes the families of one part of the app.
const FAMILY_ENCODERS: &[fn(&App, &mut Families<'_>) -> fmt::Result] = &[
    |app, families| app.metrics.requests.encode(families, app.in_flight.get() as u64),
    |app, families| app.metrics.connections.encode(families),
    encode_connections,
    |app, families| app.metrics.event_streams.encode(families),
    encode_events,
    encode_log,
    |app, families| app.metrics.store.as_ref().map_or(Ok(()), |store| store.encode(families)),
    encode_keys,
    |app, families| app.metrics.process.encode(families),
    encode_build,
];

/// Writes the families of the connection table.
fn encode_connections(app: &App, families: &mut Families<'_>) -> fmt::Result {
    let counts = app.connection_counts();
    let serving = RequestKind::ALL.map(|kind| (kind.as_str(), counts.serving(kind)));
    let waiting = [("first_head", counts.first_head), ("idle", counts.idle), ("queued", counts.queued)];
    let rows = serving.into_iter().chain(waiting).map(|(state, count)| ([("state", state)], count as u64));
    families
        .gauges(Family::new("artifactd_connections", "Connections that are open, by what they do."), rows)?;
    families.counter(
        Family::new(
            "artifactd_connections_evicted",
            "Connections that were closed to make room for another connection.",
        ),
        counts.evicted,
    )?;
    families.counter(
        Family::new(
            "artifactd_connections_refused",
            "Connections and queued requests that were refused with 429.",
        ),
        counts.refused,
    )
}

/// Writes the families of the resolver's event bus.
fn encode_events(app: &App, families: &mut Families<'_>) -> fmt::Result {
    let counts = app.resolver.event_counts();
    families.counter(
        Family::new(
            "artifactd_event_streams_refused",
            "Event streams that were refused because of a limit on their number.",
        ),
        counts.refused_subscribers,
    )?;
    families.gauge(
        Family::new("artifactd_events_held", "Events that are kept for subscribers that connect again."),
        &(counts.kept_events as u64),
    )?;
    families.gauge(
        Family::bytes(
            "artifactd_events_held",
            "Approximate memory of the events that are kept for subscribers that connect again.",
        ),
        &(counts.kept_bytes as u64),
    )
}

/// Writes the families of the process's log, if the process counts the lines of its log.
fn encode_log(app: &App, families: &mut Families<'_>) -> fmt::Result {
    let Some(counts) = app.log_counts.map(|counts| counts()) else { return Ok(()) };
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

/// Writes the families of the keys that verify tokens.
fn encode_keys(app: &App, families: &mut Families<'_>) -> fmt::Result {
    let refreshes = app.verifier.refreshes();
    families.counter(
        Family::new("artifactd_jwks_refreshes", "Key sets that were loaded from the file or the provider."),
        refreshes.done,
    )?;
    families.counter(
        Family::new(
            "artifactd_jwks_refresh_failures",
            "Refreshes of the keys that failed. The previous keys stayed in use.",
        ),
        refreshes.failed,
    )
}

/// Writes the family with the version and the commit of the build.
fn encode_build(app: &App, families: &mut Families<'_>) -> fmt::Result {
    let runtime = app.resolver.runtime();
    let labels = [("version", runtime.build_version.as_str()), ("commit", runtime.build_commit.as_str())];
    families.info(Family::new("artifactd_build", "Version and commit of this build."), &labels)
}

/// Returns `OpenMetrics` if `Accept` gives this format at least the weight of the Prometheus format. Otherwise returns
/// the Prometheus format.
fn negotiate_format(headers: &HeaderMap) -> Format {
    let weight_of = |format: Format| {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(','));
        // The weight is 0 if no range names the format.
        ranges.filter_map(|range| parse_weight(range, format)).fold(0.0, f32::max)
    };
    let open_metrics = weight_of(Format::OpenMetrics);
    if open_metrics > 0.0 && open_metrics >= weight_of(Format::Prometheus) {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

/// Returns the weight of a media range for a format. `None`: the range names another media type or version.
fn parse_weight(range: &str, format: Format) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(format.essence()) {
        return None;
    }
    let mut weight = 1.0;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            // A malformed weight counts as 0.
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
    fn the_format_is_the_one_that_the_client_prefers() {
        // The header that a Prometheus server sends.
        let prometheus_accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (prometheus_accept, Format::OpenMetrics),
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
            assert_eq!(negotiate_format(&headers), format, "{accept}");
        }
        assert_eq!(negotiate_format(&HeaderMap::new()), Format::Prometheus);
    }
}
