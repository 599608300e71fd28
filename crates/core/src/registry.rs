//! The drivers that can be opened by name: [`Driver`] and [`Registry`].
//!
//! A program registers drivers explicitly before it opens a store; no driver registers itself. This module must never
//! know a particular driver.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::capability::Capabilities;
use crate::error::StoreError;
use crate::event_log::EventLog;
use crate::options::{OptionSpec, Options, known_names_hint};
use crate::store::ArtifactStore;
use crate::time::Clock;

/// The properties of a driver that do not depend on its options.
#[derive(Debug, Clone, Copy)]
pub struct DriverInfo {
    /// The name in configurations: lower-case letters and digits, first a letter. It is also the scheme of the driver's
    /// URLs. A URL form may add another scheme.
    pub name: &'static str,
    /// What the driver is for, in one sentence.
    pub about: &'static str,
    /// The driver's options.
    pub options: &'static [OptionSpec],
    /// The URL form of the driver's location.
    pub url: UrlForm,
    /// Whether stored bytes cannot change, so that verifying them on every read is unnecessary.
    pub bytes_cannot_change: bool,
}

/// The form of a driver's URLs. The form determines which option each part of a URL sets. In every form, further
/// options follow as `?name=value&…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlForm {
    /// `inmem:`. The driver has no location.
    SchemeOnly,
    /// `fs:/path` or `fs:relative/path`. The path becomes the value of the option with this name.
    Path(&'static str),
    /// `s3://host/path`. The host sets one option. A path that is not empty sets another option, without the leading
    /// slash.
    HostAndPath {
        /// The scheme that the storage's own tools write, if it is not the driver's name: `gs` for the driver gcs. URLs
        /// may have either. A configuration may name the driver by it, too. It is written as a driver's name is:
        /// lower-case letters and digits, first a letter.
        scheme: Option<&'static str>,
        /// The option that the host sets.
        host: &'static str,
        /// The option that the path sets.
        path: &'static str,
    },
    /// `postgres://…`. The option with this name is set to the whole URL, without the parameters that set other
    /// options of the driver or keys of the facade crate's configuration. The driver passes this URL to the storage's
    /// client.
    FullUrl(&'static str),
}

impl UrlForm {
    /// The option whose value is a path on the local disk; `None` if the driver has no such option.
    pub const fn path_option(self) -> Option<&'static str> {
        match self {
            Self::Path(option) => Some(option),
            Self::SchemeOnly | Self::HostAndPath { .. } | Self::FullUrl(_) => None,
        }
    }

    /// The scheme of the driver's URLs that is not its name; `None` if there is none.
    pub const fn scheme(self) -> Option<&'static str> {
        match self {
            Self::HostAndPath { scheme, .. } => scheme,
            Self::SchemeOnly | Self::Path(_) | Self::FullUrl(_) => None,
        }
    }

    /// The URL form of `driver` with the names of the options instead of values: `fs:root`, `s3://bucket/prefix`.
    pub fn pattern(self, driver: &str) -> String {
        match self {
            Self::SchemeOnly => format!("{driver}:"),
            Self::Path(path) => format!("{driver}:{path}"),
            Self::HostAndPath { scheme, host, path } => {
                format!("{}://{host}/{path}", scheme.unwrap_or(driver))
            }
            Self::FullUrl(_) => format!("{driver}://…"),
        }
    }
}

/// An optional feature of a storage, as the driver detected it. For example, not every S3 server has the same features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreFeature {
    /// The feature's name, such as `conditional_create`.
    pub name: &'static str,
    /// The state of the feature, such as `yes` or `no`. Never a secret.
    pub value: String,
    /// How the value was found and what follows from it, in a sentence.
    pub about: String,
}

/// Whether a sweep deletes the orphans that it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SweepMode {
    /// Orphans are deleted and counted.
    #[default]
    Delete,
    /// Orphans are only counted. The sweep creates, changes and migrates nothing.
    DryRun,
}

impl SweepMode {
    /// Whether orphans may be deleted. Drivers call this method instead of a `match` on the mode, because modes may be
    /// added later.
    pub const fn deletes(self) -> bool {
        matches!(self, Self::Delete)
    }
}

/// The result of a sweep. With [`SweepMode::DryRun`], the numbers say what a sweep with [`SweepMode::Delete`] would do.
///
/// # Examples
/// ```
/// use artifact_store_core::SweepSummary;
///
/// let summary = SweepSummary::new(3).with_bytes(1024).with_spared(1);
/// assert_eq!((summary.leftovers, summary.bytes, summary.spared, summary.busy), (3, Some(1024), 1, false));
/// assert!(SweepSummary::busy().busy);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct SweepSummary {
    /// Number of deleted orphans: bytes without a record, temporary files, staged uploads and empty directories. In a
    /// dry run, the number of orphans that were found.
    pub leftovers: u64,
    /// Number of bytes of the orphans; `None` if the driver does not know. The storage backend may release the space
    /// later.
    pub bytes: Option<u64>,
    /// Number of items that were not deleted, because a process that uses them may still be running. `leftovers` does
    /// not include these items.
    pub spared: u64,
    /// Whether another sweep of this location was running. If so, nothing was done and the counts are 0.
    pub busy: bool,
}

impl SweepSummary {
    /// A summary with `leftovers` orphans of unknown size. `spared` is 0.
    pub const fn new(leftovers: u64) -> Self {
        Self { leftovers, bytes: None, spared: 0, busy: false }
    }

    /// Nothing was done, because another sweep of the location is running.
    pub const fn busy() -> Self {
        Self { leftovers: 0, bytes: None, spared: 0, busy: true }
    }

    /// Sets the number of bytes of the orphans.
    #[must_use]
    pub const fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Sets the number of items that were not deleted because a process may still use them.
    #[must_use]
    pub const fn with_spared(mut self, spared: u64) -> Self {
        self.spared = spared;
        self
    }
}

/// A driver: opens the stores of one kind of storage. A program registers its drivers in a [`Registry`].
#[async_trait]
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// The properties that do not depend on options.
    fn info(&self) -> &'static DriverInfo;

    /// The capabilities of a store opened with `options`, as far as they are known before opening.
    fn capabilities(&self, options: &Options) -> Capabilities;

    /// Opens a bare store. Applications open stores through the facade crate, which adds the [`Gate`](crate::Gate).
    ///
    /// # Errors
    /// `InvalidArgument` for conflicting options or a location that does not belong to the driver; `Unavailable` if
    /// another process has locked the location; `Corrupt`; `Backend`.
    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError>;

    /// For tools: opens a store only for reading, without a [`Gate`](crate::Gate). The default body calls
    /// [`open`](Self::open), which may change the location. A driver that overrides this method creates no store,
    /// changes no data and runs no migration, so that the location can be read-only. If the store cannot be read before
    /// a migration or a recovery, the error says so. Puts and deletes may be refused.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn open_read_only(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        self.open(options, clock).await
    }

    /// Opens the location that `options` name, reads the features of its storage, and closes the location again. The
    /// result is empty if all storages of this driver have the same features. The default body returns an empty list.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn store_features(&self, options: &Options) -> Result<Vec<StoreFeature>, StoreError> {
        let _ = options;
        Ok(Vec::new())
    }

    /// Opens the event log of the location that `options` name. All processes that use the location share this log.
    /// `None` if the driver has no event log. The default body returns `None`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn event_log(&self, options: &Options) -> Result<Option<Arc<dyn EventLog>>, StoreError> {
        let _ = options;
        Ok(None)
    }

    /// As [`store_features`](Self::store_features), but probes the storage again instead of returning recorded results.
    /// The default body calls [`store_features`](Self::store_features).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn probe(&self, options: &Options) -> Result<Vec<StoreFeature>, StoreError> {
        self.store_features(options).await
    }

    /// Opens the location that `options` name, deletes the orphans of processes that ended abnormally, and closes the
    /// location again. A sweep does not affect artifacts or running processes. Only one sweep of a location runs at a
    /// time: a second sweep returns [`SweepSummary::busy`] at once.
    ///
    /// With [`SweepMode::DryRun`], a sweep only counts the orphans. It deletes, creates and migrates nothing, not even
    /// when it opens the location.
    ///
    /// # Errors
    /// As [`open`](Self::open). A dry run also fails if the store does not exist yet or has to be migrated first.
    async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError>;
}

/// The drivers that can be opened by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    drivers: BTreeMap<&'static str, Arc<dyn Driver>>,
    /// By driver name: the reason to report if this driver is not registered.
    reasons_if_missing: BTreeMap<&'static str, &'static str>,
}

impl Registry {
    /// A registry without drivers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a driver.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the driver's name or the scheme of its URL form is
    /// already registered as a name or a scheme, or is not valid: see [`DriverInfo::name`].
    pub fn register(&mut self, driver: Arc<dyn Driver>) -> Result<(), StoreError> {
        let name = driver.info().name;
        let scheme = driver.info().url.scheme().map(|scheme| ("the scheme of a driver", scheme));
        for (what, name) in std::iter::once(("a driver name", name)).chain(scheme) {
            let is_valid = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            if !is_valid {
                return Err(StoreError::invalid(format!(
                    "'{name}' is not {what}; it takes lower-case letters and digits and starts with a letter"
                )));
            }
            if self.find(name).is_some() {
                return Err(StoreError::invalid(format!("a driver '{name}' is already registered")));
            }
        }
        self.drivers.insert(name, driver);
        Ok(())
    }

    /// Sets the reason to report if the driver `name` is not registered. [`driver`](Self::driver) then returns an error
    /// with the text `the driver NAME REASON`.
    ///
    /// # Examples
    /// ```
    /// use artifact_store_core::Registry;
    ///
    /// let mut registry = Registry::new();
    /// registry.explain_missing("tape", "needs a licence; ask the operator");
    /// let error = registry.driver("tape").unwrap_err();
    /// assert_eq!(error.to_string(), "the driver tape needs a licence; ask the operator");
    /// ```
    pub fn explain_missing(&mut self, name: &'static str, reason: &'static str) {
        self.reasons_if_missing.insert(name, reason);
    }

    /// The driver called `name`, or with the scheme `name` in its URLs.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if no driver has this name. The message lists the
    /// registered drivers, or says why the driver is [missing](Self::explain_missing).
    pub fn driver(&self, name: &str) -> Result<&Arc<dyn Driver>, StoreError> {
        if let Some(driver) = self.find(name) {
            return Ok(driver);
        }
        if let Some(reason) = self.reasons_if_missing.get(name) {
            return Err(StoreError::invalid(format!("the driver {name} {reason}")));
        }
        let known_names = self.drivers.keys().copied();
        if name.contains([':', '/', '@']) {
            // The message does not repeat the name, because it may be a URL with a password.
            let known_names: Vec<_> = known_names.collect();
            return Err(StoreError::invalid(format!(
                "a URL is not the name of a driver; known: {}",
                known_names.join(", ")
            )));
        }
        let hint = known_names_hint(name, known_names);
        Err(StoreError::invalid(format!("there is no driver '{name}'; {hint}")))
    }

    /// The driver with this name or scheme.
    fn find(&self, name: &str) -> Option<&Arc<dyn Driver>> {
        let has_scheme = |driver: &&Arc<dyn Driver>| driver.info().url.scheme() == Some(name);
        self.drivers.get(name).or_else(|| self.drivers.values().find(has_scheme))
    }

    /// All drivers, in the order of their names.
    pub fn drivers(&self) -> impl Iterator<Item = &Arc<dyn Driver>> {
        self.drivers.values()
    }
}
