//! From what was given to [`Settings`]: each key read by its kind, then what has to fit together.

use artifact_store::core::{Options, StoreError};
use artifact_store::{Config, CursorKey, Secret, VerifyReads};
use serde_json::Value;
use tracing::Level;

use super::layers::Layers;
use super::{
    ArtifactsSettings, ConfigError, IdentitySettings, LogFormat, ProtocolSettings, ServerSettings, Settings,
    TelemetrySettings, value,
};

/// The drivers whose place has a key of its own: driver, key, the driver's option, an example.
const PLACES: [(&str, &str, &str, &str); 2] = [
    ("fs", "artifacts.fs_root", "root", "/var/lib/artifactd"),
    ("sqlite", "artifacts.dsn", "path", "/var/lib/artifactd/artifacts.db"),
];

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
    })
}

fn identity(layers: &Layers) -> Result<IdentitySettings, ConfigError> {
    Ok(IdentitySettings {
        jwks_file: layers.get("identity.jwks_file", value::text)?.map(Into::into),
        issuer: layers.get("identity.issuer", value::text)?,
        audience: layers.get("identity.audience", value::text)?,
        jwt_algorithms: layers.need("identity.jwt_algorithms", value::algorithms)?,
        clock_skew: layers.need("identity.clock_skew", value::duration)?,
    })
}

fn artifacts(layers: &Layers) -> Result<ArtifactsSettings, ConfigError> {
    let (default, hard) = ("artifacts.fetch_default_max_bytes", "artifacts.fetch_hard_max_bytes");
    let settings = ArtifactsSettings {
        store: store(layers)?,
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

/// What the facade opens. Everything that can be refused before the place is touched is refused here, so that the line says
/// which key it was.
fn store(layers: &Layers) -> Result<Config, ConfigError> {
    let driver: String = layers.need("artifacts.driver", value::text)?;
    let said = |name: &str, error: &StoreError| layers.refuse(name, &error.to_string());
    let registry = artifact_store::drivers().map_err(|error| said("artifacts.driver", &error))?;
    let info = registry.driver(&driver).map_err(|error| said("artifacts.driver", &error))?.info();
    let mut config = Config::new(&driver);
    let mut place = None;
    for (of, name, option, example) in PLACES {
        let given: Option<String> = layers.get(name, value::text)?;
        match given {
            // One file may hold the places of several drivers, to choose among them elsewhere; but nobody who names a place
            // means the default driver, which forgets everything.
            Some(_) if of != driver && layers.has("artifacts.driver") => {}
            Some(_) if of != driver => {
                return Err(
                    layers.refuse(name, &format!("it is of the driver {of}; set artifacts.driver, too"))
                );
            }
            Some(path) if path.contains("://") || path.starts_with(&format!("{of}:")) => {
                return Err(layers.refuse(name, &format!("it takes a path such as {example}, and no URL")));
            }
            Some(path) => {
                config = config.option(option, path.clone());
                place = Some((option, name, Value::String(path)));
            }
            None if of == driver => {
                let why = format!("the driver {of} needs {name}, such as {example}");
                return Err(layers.refuse("artifacts.driver", &why));
            }
            None => {}
        }
    }
    for (option, name, value) in layers.options() {
        if let Some((_, key, _)) = place.as_ref().filter(|(taken, ..)| *taken == option) {
            return Err(layers.refuse(name, &format!("this is written as {key}")));
        }
        let path = place.iter().map(|(option, _, path)| ((*option).to_owned(), path.clone()));
        let alone = path.chain([(option.to_owned(), value.clone())]);
        Options::parse(info.name, info.options, alone).map_err(|error| said(name, &error))?;
        config = config.option(option, value.clone());
    }
    config.verify_reads = match layers.need("artifacts.verify_reads", value::word)? {
        "never" => VerifyReads::Never,
        _ => VerifyReads::Always,
    };
    let secret: Option<String> = layers.get("artifacts.cursor_secret", value::text)?;
    if let Some(secret) = secret {
        CursorKey::from_secret(secret.as_bytes()).map_err(|error| said("artifacts.cursor_secret", &error))?;
        config.cursor_secret = Some(Secret::new(secret));
    }
    Ok(config)
}
