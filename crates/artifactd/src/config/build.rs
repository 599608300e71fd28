//! From what was given to [`Settings`]: each key read by its kind, then what has to fit together.

use tracing::Level;

use super::layers::Layers;
use super::{
    ArtifactsSettings, ConfigError, EventStreamSettings, IdentitySettings, LogFormat, ProtocolSettings,
    ServerSettings, Settings, TelemetrySettings, store, value,
};
use crate::identity::{BOTH_SOURCES, JwksUrl};

pub(super) fn settings(layers: &Layers) -> Result<Settings, ConfigError> {
    Ok(Settings {
        server: server(layers)?,
        identity: identity(layers)?,
        artifacts: artifacts(layers)?,
        protocol: ProtocolSettings {
            max_request_bytes: layers.need("protocol.max_request_bytes", value::size)?,
        },
        telemetry: telemetry(layers)?,
    })
}

fn server(layers: &Layers) -> Result<ServerSettings, ConfigError> {
    Ok(ServerSettings {
        bind_addr: layers.need("server.bind_addr", value::address)?,
        shutdown_grace_period: layers.need("server.shutdown_grace_period", value::duration)?,
        allowed_origins: layers.get("server.allowed_origins", value::origins)?.unwrap_or_default(),
        header_timeout: layers.need("server.header_timeout", value::duration)?,
        body_timeout: layers.need("server.body_timeout", value::duration)?,
        max_connections: layers.need("server.max_connections", value::count)?,
        reserved_connections: layers.need("server.reserved_connections", value::count)?,
        max_connections_per_client: layers.get("server.max_connections_per_client", value::count)?,
        queue_timeout: layers.need("server.queue_timeout", value::duration)?,
        event_streams: event_streams(layers)?,
        max_requests_per_user: share(layers, "server.max_requests_per_user", 2)?,
        max_requests_per_tenant: share(layers, "server.max_requests_per_tenant", 3)?,
    })
}

/// A number of requests; unset, so many quarters of the connections.
fn share(layers: &Layers, key: &str, quarters: usize) -> Result<usize, ConfigError> {
    let connections = layers.need("server.max_connections", value::count)?;
    Ok(layers.get(key, value::count)?.unwrap_or_else(|| (connections * quarters / 4).max(1)))
}

fn event_streams(layers: &Layers) -> Result<EventStreamSettings, ConfigError> {
    let (streams, connections) = ("server.max_event_streams", "server.max_connections");
    let max_connections = layers.need(connections, value::count)?;
    let in_all = layers.get(streams, value::count)?.unwrap_or_else(|| (max_connections / 2).max(1));
    if in_all > max_connections {
        return Err(layers.refuse(
            streams,
            &format!(
                "there may be more event streams ({in_all}) than connections ({max_connections}); max_event_streams takes at \
                 most max_connections"
            ),
        ));
    }
    Ok(EventStreamSettings {
        per_session: layers.need("server.max_event_streams_per_session", value::count)?,
        per_user: layers.need("server.max_event_streams_per_user", value::count)?,
        per_tenant: layers.need("server.max_event_streams_per_tenant", value::count)?,
        in_all,
    })
}

fn identity(layers: &Layers) -> Result<IdentitySettings, ConfigError> {
    let (often, seldom) = ("identity.jwks_refresh_min_interval", "identity.jwks_refresh_interval");
    let settings = IdentitySettings {
        jwks_file: layers.get("identity.jwks_file", value::text)?.map(Into::into),
        jwks_url: layers
            .get("identity.jwks_url", value::text)?
            .map(|url| JwksUrl::parse(&url).map_err(|why| layers.refuse("identity.jwks_url", &why)))
            .transpose()?,
        jwks_refresh_interval: layers.need(seldom, value::duration)?,
        jwks_refresh_min_interval: layers.need(often, value::duration)?,
        issuer: layers.get("identity.issuer", value::text)?,
        audience: layers.get("identity.audience", value::text)?,
        jwt_algorithms: layers.need("identity.jwt_algorithms", value::algorithms)?,
        jwt_types: layers.get("identity.jwt_types", value::token_types)?.unwrap_or_default(),
        session_bound: layers.need("identity.session_bound", value::switch)?,
        clock_skew: layers.need("identity.clock_skew", value::duration)?,
    };
    if settings.jwks_file.is_some() && settings.jwks_url.is_some() {
        return Err(layers.refuse("identity.jwks_url", BOTH_SOURCES));
    }
    if settings.jwks_refresh_min_interval > settings.jwks_refresh_interval {
        let culprit = if layers.has(often) { often } else { seldom };
        return Err(layers.refuse(
            culprit,
            &format!(
                "the smallest interval ({:?}) is over the usual one ({:?}); jwks_refresh_min_interval takes at most \
                 jwks_refresh_interval",
                settings.jwks_refresh_min_interval, settings.jwks_refresh_interval
            ),
        ));
    }
    Ok(settings)
}

fn artifacts(layers: &Layers) -> Result<ArtifactsSettings, ConfigError> {
    let (default, hard) = ("artifacts.fetch_default_max_bytes", "artifacts.fetch_hard_max_bytes");
    let settings = ArtifactsSettings {
        store: store::config(layers)?,
        driver_given: layers.has("artifacts.driver"),
        fetch_default_max_bytes: layers.need(default, value::size)?,
        fetch_hard_max_bytes: layers.need(hard, value::size)?,
        heavy_output_threshold_bytes: layers.need("artifacts.heavy_output_threshold_bytes", value::size)?,
    };
    if settings.fetch_default_max_bytes > settings.fetch_hard_max_bytes {
        let culprit = if layers.has(default) { default } else { hard };
        return Err(layers.refuse(
            culprit,
            &format!(
                "the default window ({}) is over the hard one ({}); fetch_default_max_bytes takes at most fetch_hard_max_bytes",
                settings.fetch_default_max_bytes, settings.fetch_hard_max_bytes
            ),
        ));
    }
    Ok(settings)
}

fn telemetry(layers: &Layers) -> Result<TelemetrySettings, ConfigError> {
    Ok(TelemetrySettings {
        log_format: match layers.need("telemetry.log_format", value::word)? {
            "text" => LogFormat::Text,
            _ => LogFormat::Json,
        },
        log_level: match layers.need("telemetry.log_level", value::word)? {
            "error" => Level::ERROR,
            "warn" => Level::WARN,
            "debug" => Level::DEBUG,
            "trace" => Level::TRACE,
            _ => Level::INFO,
        },
        service_name: layers.get("telemetry.service_name", value::text)?,
    })
}
