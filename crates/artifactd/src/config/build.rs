//! Builds [`Settings`] from the layers: parses each key by its kind, then checks the keys that depend on each other.

use artifact_store_identity::{BOTH_SOURCES, IdentitySettings, JwksUrl};
use artifact_store_server::{EventStreamSettings, ServerSettings};
use tracing::Level;

use super::error::ConfigError;
use super::layers::Layers;
use super::settings::{ArtifactsSettings, LogFormat, ProtocolSettings, Settings, TelemetrySettings};
use super::{driver_keys, parse};

pub(super) fn build_settings(layers: &Layers) -> Result<Settings, ConfigError> {
    Ok(Settings {
        server: server(layers)?,
        identity: identity(layers)?,
        artifacts: artifacts(layers)?,
        protocol: protocol(layers)?,
        telemetry: telemetry(layers)?,
    })
}

fn server(layers: &Layers) -> Result<ServerSettings, ConfigError> {
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
        max_requests_per_user: request_limit(layers, "server.max_requests_per_user", 2)?,
        max_requests_per_tenant: request_limit(layers, "server.max_requests_per_tenant", 3)?,
    })
}

/// A limit of requests. If `key` is not set, the limit is `quarters` quarters of `server.max_connections`.
fn request_limit(layers: &Layers, key: &str, quarters: usize) -> Result<usize, ConfigError> {
    let connections = layers.require("server.max_connections", parse::count)?;
    Ok(layers.get(key, parse::count)?.unwrap_or_else(|| (connections * quarters / 4).max(1)))
}

fn event_streams(layers: &Layers) -> Result<EventStreamSettings, ConfigError> {
    let (streams, connections) = ("server.max_event_streams", "server.max_connections");
    let max_connections = layers.require(connections, parse::count)?;
    let in_all = layers.get(streams, parse::count)?.unwrap_or_else(|| (max_connections / 2).max(1));
    if in_all > max_connections {
        return Err(layers.key_error(
            streams,
            &format!("{in_all} is larger than server.max_connections, which is {max_connections}"),
        ));
    }
    Ok(EventStreamSettings {
        per_session: layers.require("server.max_event_streams_per_session", parse::count)?,
        per_user: layers.require("server.max_event_streams_per_user", parse::count)?,
        per_tenant: layers.require("server.max_event_streams_per_tenant", parse::count)?,
        in_all,
    })
}

fn identity(layers: &Layers) -> Result<IdentitySettings, ConfigError> {
    let (min_key, key) = ("identity.jwks_refresh_min_interval", "identity.jwks_refresh_interval");
    let settings = IdentitySettings {
        jwks_file: layers.get("identity.jwks_file", parse::text)?.map(Into::into),
        jwks_url: layers
            .get("identity.jwks_url", parse::text)?
            .map(|url| JwksUrl::parse(&url).map_err(|reason| layers.key_error("identity.jwks_url", &reason)))
            .transpose()?,
        jwks_refresh_interval: layers.require(key, parse::duration)?,
        jwks_refresh_min_interval: layers.require(min_key, parse::duration)?,
        issuer: layers.get("identity.issuer", parse::text)?,
        audience: layers.get("identity.audience", parse::text)?,
        jwt_algorithms: layers.require("identity.jwt_algorithms", parse::algorithms)?,
        jwt_types: layers.get("identity.jwt_types", parse::token_types)?.unwrap_or_default(),
        session_bound: layers.require("identity.session_bound", parse::boolean)?,
        clock_skew: layers.require("identity.clock_skew", parse::duration)?,
    };
    if settings.jwks_file.is_some() && settings.jwks_url.is_some() {
        return Err(layers.key_error("identity.jwks_url", BOTH_SOURCES));
    }
    if settings.jwks_refresh_min_interval > settings.jwks_refresh_interval {
        let (min, interval) = (settings.jwks_refresh_min_interval, settings.jwks_refresh_interval);
        return Err(if layers.is_set(min_key) {
            layers.key_error(min_key, &format!("{min:?} is larger than {key}, which is {interval:?}"))
        } else {
            layers.key_error(key, &format!("{interval:?} is smaller than {min_key}, which is {min:?}"))
        });
    }
    Ok(settings)
}

fn artifacts(layers: &Layers) -> Result<ArtifactsSettings, ConfigError> {
    let (default_key, hard_key) = ("artifacts.fetch_default_max_bytes", "artifacts.fetch_hard_max_bytes");
    let (store, option_names) = driver_keys::store_config(layers)?;
    let settings = ArtifactsSettings {
        store,
        option_names,
        driver_is_set: layers.is_set("artifacts.driver"),
        fetch_default_max_bytes: layers.require(default_key, parse::size)?,
        fetch_hard_max_bytes: layers.require(hard_key, parse::size)?,
        heavy_output_threshold_bytes: layers
            .require("artifacts.heavy_output_threshold_bytes", parse::size)?,
        sweep_interval: layers.require("artifacts.sweep_interval", parse::duration)?,
    };
    let (default, hard) = (settings.fetch_default_max_bytes, settings.fetch_hard_max_bytes);
    if default > hard {
        return Err(if layers.is_set(default_key) {
            layers.key_error(default_key, &format!("{default} is larger than {hard_key}, which is {hard}"))
        } else {
            layers.key_error(hard_key, &format!("{hard} is smaller than {default_key}, which is {default}"))
        });
    }
    Ok(settings)
}

fn protocol(layers: &Layers) -> Result<ProtocolSettings, ConfigError> {
    let (request_key, upload_key) = ("protocol.max_request_bytes", "protocol.max_upload_bytes");
    let settings = ProtocolSettings {
        max_request_bytes: layers.get(request_key, parse::size)?,
        max_upload_bytes: layers.get(upload_key, parse::size)?,
    };
    match (settings.max_request_bytes, settings.max_upload_bytes) {
        (Some(request), Some(upload)) if upload > request => Err(layers.key_error(
            upload_key,
            &format!("{upload} is larger than {request_key}, which is {request} and limits uploads, too; raise that, or leave it out"),
        )),
        _ => Ok(settings),
    }
}

fn telemetry(layers: &Layers) -> Result<TelemetrySettings, ConfigError> {
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
