//! [`ConfigReloader`]: the reaction of `artifactd serve` to SIGHUP. The reloader reads the configuration again, applies
//! the log level, and refreshes the keys that verify tokens. Then the reloader logs one line with the result. The line
//! also names the changed configuration keys that need a restart. This module must never restart a part of the server.

use std::path::PathBuf;
use std::time::Duration;

use artifact_store::Registry;
use artifact_store_identity::KeyRefresher;
use tokio::signal::unix::Signal;
use tokio::time::timeout;

use crate::config::{ConfigError, ConfigValues, Purpose, Settings};
use crate::log;

/// How long a refresh of the keys that verify tokens may take. This timeout is longer than the timeout of one request
/// to the provider, which is 5 s.
const KEY_REFRESH_TIMEOUT: Duration = Duration::from_secs(15);
/// The configuration key that is applied without a restart.
const LOG_LEVEL_KEY: &str = "telemetry.log_level";

/// The sources of a server's configuration, in addition to the environment, and the legal drivers.
#[derive(Debug, Clone)]
pub(super) struct ConfigSources {
    pub(super) registry: Registry,
    pub(super) file: Option<PathBuf>,
    /// The arguments of `--set`: configuration keys and their values.
    pub(super) key_values: Vec<(String, String)>,
}

impl ConfigSources {
    /// Loads the configuration. Also returns the value that is set for each key.
    pub(super) fn load(&self) -> Result<(Settings, ConfigValues), ConfigError> {
        Settings::load_for(Purpose::Serve, &self.registry, self.file.as_deref(), &self.key_values)
    }
}

/// Reloads the configuration of a running server.
#[derive(Debug)]
pub(super) struct ConfigReloader {
    pub(super) sources: ConfigSources,
    /// The settings at the start, with the log level that is in use now.
    pub(super) settings: Settings,
    /// The values that were set for the configuration keys at the start.
    pub(super) values: ConfigValues,
    /// Refreshes the keys that verify tokens.
    pub(super) key_refresher: KeyRefresher,
}

impl ConfigReloader {
    /// Reloads at each SIGHUP.
    pub(super) async fn run(mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            self.reload().await;
        }
    }

    /// Reloads once, and logs the result.
    async fn reload(&mut self) {
        let sources = self.sources.clone();
        let loading = tokio::task::spawn_blocking(move || sources.load());
        let key_status = match timeout(KEY_REFRESH_TIMEOUT, self.key_refresher.refresh()).await {
            Ok(true) => "refreshed",
            Ok(false) => "could not be fetched, see the line before; the keys from before stay",
            Err(_) => "could not be fetched in 15 s; the keys from before stay",
        };
        let loaded = match loading.await {
            Ok(loaded) => loaded.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (settings, values) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(
                    error,
                    keys = key_status,
                    "SIGHUP: the configuration is not valid; the old one stays"
                );
                return;
            }
        };
        let (old_level, new_level) = (self.settings.telemetry.log_level, settings.telemetry.log_level);
        // Until the result is logged, the more verbose of the old and the new level is set. So the result is logged if
        // either of the two levels includes it. A more verbose level is greater than a less verbose level.
        if new_level > old_level {
            log::set_level(new_level);
        }
        let restart_keys = self.keys_that_need_restart(&settings, &values);
        // If this is `None`, the logged line has no field `needs_restart`.
        let needs_restart = (!restart_keys.is_empty()).then(|| restart_keys.join(", "));
        tracing::info!(
            log_level = new_level.as_str().to_ascii_lowercase(),
            keys = key_status,
            needs_restart,
            "SIGHUP: the configuration was read again"
        );
        log::set_level(new_level);
        self.settings.telemetry.log_level = new_level;
    }

    /// The configuration keys that have changed since the start and need a restart. Empty if only the spelling of
    /// values has changed, because the settings are equal then.
    fn keys_that_need_restart<'a>(&'a self, settings: &Settings, values: &'a ConfigValues) -> Vec<&'a str> {
        let mut old = self.settings.clone();
        // A new log level needs no restart, so it must not make the settings differ.
        old.telemetry.log_level = settings.telemetry.log_level;
        if old == *settings {
            return Vec::new();
        }
        self.values.changed_keys(values).into_iter().filter(|key| *key != LOG_LEVEL_KEY).collect()
    }
}
