//! SIGHUP of `artifactd serve`: the configuration is read again, the log's level and the keys are taken over, and one line says
//! what was, and what a restart would change.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::timeout;

use crate::config::{ConfigError, Given, Settings};
use crate::identity::KeyRefresher;
use crate::log;

/// How long the keys may take: longer than a provider is given.
const KEYS: Duration = Duration::from_secs(15);
/// What is taken over while the server runs.
const LOG_LEVEL: &str = "telemetry.log_level";

/// Where a server's configuration comes from, beside the environment.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) file: Option<PathBuf>,
    pub(super) flags: Vec<(String, String)>,
}

impl Origin {
    /// Reads it.
    pub(super) fn load(&self) -> Result<(Settings, Given), ConfigError> {
        let (settings, given) = Settings::load_given(self.file.as_deref(), &self.flags)?;
        settings.artifacts.need_driver()?;
        Ok((settings, given))
    }
}

/// What a server runs with.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) origin: Origin,
    pub(super) settings: Settings,
    pub(super) given: Given,
    pub(super) keys: KeyRefresher,
}

impl Running {
    /// Reloads at each hangup.
    pub(super) async fn reload_at(mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        let origin = self.origin.clone();
        let read = tokio::task::spawn_blocking(move || origin.load());
        let keys = match timeout(KEYS, self.keys.refresh()).await {
            Ok(true) => "refreshed",
            Ok(false) => "could not be had, the line before says why; the keys from before stay",
            Err(_) => "did not come in time; the keys from before stay",
        };
        let loaded = match read.await {
            Ok(loaded) => loaded.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (settings, given) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(
                    error,
                    keys,
                    "SIGHUP: the configuration is not taken over; the one from before stays"
                );
                return;
            }
        };
        let (old, new) = (self.settings.telemetry.log_level, settings.telemetry.log_level);
        // The line is logged at the level that shows more.
        if new > old {
            log::set_level(new);
        }
        let restart = self.needs_restart(&settings, &given);
        let needs_restart = (!restart.is_empty()).then(|| restart.join(", "));
        tracing::info!(
            log_level = new.as_str().to_ascii_lowercase(),
            keys,
            needs_restart,
            "SIGHUP: the configuration was read again"
        );
        log::set_level(new);
        self.settings.telemetry.log_level = new;
    }

    /// The keys that say something else than what this server started with, and that it does not take over.
    fn needs_restart<'a>(&'a self, settings: &Settings, given: &'a Given) -> Vec<&'a str> {
        let mut alike = self.settings.clone();
        alike.telemetry.log_level = settings.telemetry.log_level;
        if alike == *settings {
            return Vec::new();
        }
        self.given.changed(given).into_iter().filter(|key| *key != LOG_LEVEL).collect()
    }
}
