//! Builds [`Settings`] from the layers: parses each key by its kind, then checks the keys that depend on each other.

use artifact_store::{Config, Registry};
use artifact_store_identity::{BOTH_SOURCES, IdentitySettings, NO_SOURCE};
use artifact_store_server::{EventStreamSettings, ServerSettings};
use tracing::Level;

use super::error::{ConfigError, Mistake};
use super::layers::Layers;
use super::option_names::OptionNames;
use super::settings::{ArtifactsSettings, LogFormat, ProtocolSettings, Settings, TelemetrySettings};
use super::{Purpose, driver_keys, parse};

/// The settings of `layers`, if they have no mistake and nothing that `purpose` needs is missing. The legal drivers are
/// those of `registry`.
///
/// # Errors
/// Every mistake in `layers`, and every missing key that `purpose` needs.
pub(super) fn build_settings(
    layers: &mut Layers,
    purpose: Purpose,
    registry: &Registry,
) -> Result<Settings, ConfigError> {
    let mut mistakes = layers.check_values();
    if layers.file_is_unusable() {
        return Err(ConfigError::new(mistakes));
    }
    let store_config = driver_keys::store_config(layers, purpose, registry, &mut mistakes);
    check_contradictions(layers, &mut mistakes);
    if purpose == Purpose::Serve
        && ["identity.jwks_file", "identity.jwks_url"].iter().all(|key| layers.is_missing(key))
    {
        mistakes.push(Mistake::without_source(NO_SOURCE));
    }
    match store_config {
        Ok(Some((store, option_names))) => match all_sections(layers, store, option_names) {
            Ok(settings) if mistakes.is_empty() => return Ok(settings),
            Ok(_) => {}
            Err(mistake) => mistakes.push(mistake),
        },
        // `driver_keys::store_config` has already added the mistake to `mistakes`.
        Ok(None) => {}
        Err(mistake) => mistakes.push(mistake),
    }
    Err(ConfigError::new(mistakes))
}

/// The settings of all sections. `store` and `option_names` are already built from the section `artifacts`.
fn all_sections(layers: &Layers, store: Config, option_names: OptionNames) -> Result<Settings, Mistake> {
    Ok(Settings {
        server: server(layers)?,
        identity: identity(layers)?,
        artifacts: ArtifactsSettings {
            store,
            option_names,
            fetch_default_max_bytes: layers.require("artifacts.fetch_default_max_bytes", parse::size)?,
            fetch_hard_max_bytes: layers.require("artifacts.fetch_hard_max_bytes", parse::size)?,
            heavy_output_threshold_bytes: layers
                .require("artifacts.heavy_output_threshold_bytes", parse::size)?,
            sweep_interval: layers.require("artifacts.sweep_interval", parse::duration)?,
        },
        protocol: ProtocolSettings {
            max_request_bytes: layers.get("protocol.max_request_bytes", parse::size)?,
            max_upload_bytes: layers.get("protocol.max_upload_bytes", parse::size)?,
        },
        telemetry: telemetry(layers)?,
    })
}

fn server(layers: &Layers) -> Result<ServerSettings, Mistake> {
    Ok(ServerSettings {
        bind_addr: layers.require("server.bind_addr", parse::address)?,
        shutdown_grace_period: layers.require("server.shutdown_grace_period", parse::duration)?,
        allowed_origins: layers.get("server.allowed_origins", parse::origins)?.unwrap_or_default(),
        trusted_proxies: layers.get("server.trusted_proxies", parse::networks)?.unwrap_or_default(),
        header_timeout: layers.require("server.header_timeout", parse::duration)?,
        body_timeout: layers.require("server.body_timeout", parse::duration)?,
        max_connections: layers.require("server.max_connections", parse::count)?,
        reserved_connections: layers.require("server.reserved_connections", parse::count)?,
        max_connections_per_client: layers.get("server.max_connections_per_client", parse::count)?,
        queue_timeout: layers.require("server.queue_timeout", parse::duration)?,
        event_streams: event_streams(layers)?,
        // The defaults are two quarters and three quarters of `server.max_connections`.
        max_requests_per_user: request_limit(layers, "server.max_requests_per_user", 2)?,
        max_requests_per_tenant: request_limit(layers, "server.max_requests_per_tenant", 3)?,
    })
}

/// The limit on requests that `key` sets. If `key` is not set, the limit is `quarters` / 4 of `server.max_connections`,
/// but at least 1.
fn request_limit(layers: &Layers, key: &str, quarters: usize) -> Result<usize, Mistake> {
    let connections = layers.require("server.max_connections", parse::count)?;
    Ok(layers.get(key, parse::count)?.unwrap_or_else(|| (connections * quarters / 4).max(1)))
}

fn event_streams(layers: &Layers) -> Result<EventStreamSettings, Mistake> {
    let max_connections = layers.require("server.max_connections", parse::count)?;
    let in_all = layers.get("server.max_event_streams", parse::count)?;
    Ok(EventStreamSettings {
        per_session: layers.require("server.max_event_streams_per_session", parse::count)?,
        per_user: layers.require("server.max_event_streams_per_user", parse::count)?,
        per_tenant: layers.require("server.max_event_streams_per_tenant", parse::count)?,
        in_all: in_all.unwrap_or_else(|| (max_connections / 2).max(1)),
    })
}

fn identity(layers: &Layers) -> Result<IdentitySettings, Mistake> {
    Ok(IdentitySettings {
        jwks_file: layers.get("identity.jwks_file", parse::text)?.map(Into::into),
        jwks_url: layers.get("identity.jwks_url", parse::jwks_url)?,
        jwks_refresh_interval: layers.require("identity.jwks_refresh_interval", parse::duration)?,
        jwks_refresh_min_interval: layers.require("identity.jwks_refresh_min_interval", parse::duration)?,
        issuer: layers.get("identity.issuer", parse::text)?,
        audience: layers.get("identity.audience", parse::text)?,
        jwt_algorithms: layers.require("identity.jwt_algorithms", parse::algorithms)?,
        jwt_types: layers.get("identity.jwt_types", parse::token_types)?.unwrap_or_default(),
        session_bound: layers.require("identity.session_bound", parse::boolean)?,
        clock_skew: layers.require("identity.clock_skew", parse::duration)?,
    })
}

fn telemetry(layers: &Layers) -> Result<TelemetrySettings, Mistake> {
    Ok(TelemetrySettings {
        log_format: match layers.require("telemetry.log_format", parse::one_of)? {
            "text" => LogFormat::Text,
            _ => LogFormat::Json,
        },
        log_level: match layers.require("telemetry.log_level", parse::one_of)? {
            "error" => Level::ERROR,
            "warn" => Level::WARN,
            "debug" => Level::DEBUG,
            "trace" => Level::TRACE,
            _ => Level::INFO,
        },
        service_name: layers.get("telemetry.service_name", parse::text)?,
    })
}

/// Adds a mistake for each pair of values that contradict each other. An illegal value is already reported, so a pair
/// with an illegal value is skipped. Only an illegal `identity.jwks_file` does not skip its pair. A check returns an
/// error only if the table of keys has a bug.
fn check_contradictions(layers: &Layers, mistakes: &mut Vec<Mistake>) {
    let found = [
        streams_within_connections(layers),
        Ok(one_source_of_keys(layers)),
        uploads_within_requests(layers),
        first_at_most_second(
            layers,
            ("identity.jwks_refresh_min_interval", "identity.jwks_refresh_interval"),
            parse::duration,
            |duration| format!("{duration:?}"),
        ),
        first_at_most_second(
            layers,
            ("artifacts.fetch_default_max_bytes", "artifacts.fetch_hard_max_bytes"),
            parse::size,
            ToString::to_string,
        ),
    ];
    for result in found {
        match result {
            Ok(mistake) => mistakes.extend(mistake),
            Err(mistake) => mistakes.push(mistake),
        }
    }
}

/// A mistake if `server.max_event_streams` is set and is larger than `server.max_connections`.
fn streams_within_connections(layers: &Layers) -> Result<Option<Mistake>, Mistake> {
    let (streams, connections) = ("server.max_event_streams", "server.max_connections");
    if !layers.are_legal(&[streams, connections]) {
        return Ok(None);
    }
    let max_connections = layers.require(connections, parse::count)?;
    Ok(match layers.get(streams, parse::count)? {
        Some(in_all) if in_all > max_connections => {
            Some(layers.mistake(
                streams,
                &format!("{in_all} is larger than {connections}, which is {max_connections}"),
            ))
        }
        _ => None,
    })
}

/// A mistake if `identity.jwks_file` and `identity.jwks_url` are both set.
fn one_source_of_keys(layers: &Layers) -> Option<Mistake> {
    let (file, url) = ("identity.jwks_file", "identity.jwks_url");
    let both = layers.is_set(file) && layers.is_set(url) && layers.are_legal(&[url]);
    both.then(|| layers.mistake(url, BOTH_SOURCES))
}

/// A mistake if `protocol.max_upload_bytes` is larger than `protocol.max_request_bytes`, which also limits uploads.
fn uploads_within_requests(layers: &Layers) -> Result<Option<Mistake>, Mistake> {
    let (uploads, requests) = ("protocol.max_upload_bytes", "protocol.max_request_bytes");
    if !layers.are_legal(&[uploads, requests]) {
        return Ok(None);
    }
    let (upload, request) = (layers.get(uploads, parse::size)?, layers.get(requests, parse::size)?);
    Ok(match (upload, request) {
        (Some(upload), Some(request)) if upload > request => Some(layers.mistake(
            uploads,
            &format!("{upload} is larger than {requests}, which is {request} and limits uploads, too; raise that, or leave it out"),
        )),
        _ => None,
    })
}

/// A mistake if the value of the key `small` is larger than the value of the key `large`. The mistake is reported at
/// `small` if `small` is set, otherwise at `large`. `show` formats a value for the message.
fn first_at_most_second<T: Ord>(
    layers: &Layers,
    (small, large): (&str, &str),
    parse: fn(&super::keys::ValueKind, &serde_json::Value) -> Option<T>,
    show: fn(&T) -> String,
) -> Result<Option<Mistake>, Mistake> {
    let (low, high) = (layers.require(small, parse)?, layers.require(large, parse)?);
    if low <= high || !layers.are_legal(&[small, large]) {
        return Ok(None);
    }
    let (low, high) = (show(&low), show(&high));
    Ok(Some(if layers.is_set(small) {
        layers.mistake(small, &format!("{low} is larger than {large}, which is {high}"))
    } else {
        layers.mistake(large, &format!("{high} is smaller than {small}, which is {low}"))
    }))
}
