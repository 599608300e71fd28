//! Which drivers there are: [`Registry`], filled explicitly before a store is opened.
//!
//! Nothing registers itself: a driver that is not registered does not exist.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::capability::Capabilities;
use crate::error::StoreError;
use crate::event_log::EventLog;
use crate::options::{OptionSpec, Options, known};
use crate::store::ArtifactStore;
use crate::time::Clock;

/// What is fixed about a driver, whatever its options.
#[derive(Debug, Clone, Copy)]
pub struct DriverInfo {
    /// The name in configurations, and the scheme of its URLs: lower-case letters and digits.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub about: &'static str,
    /// Its options.
    pub options: &'static [OptionSpec],
    /// How its place is written as a URL.
    pub url: UrlForm,
    /// Whether bytes cannot change once they are stored, so that checking them on every read proves nothing.
    pub bytes_cannot_change: bool,
}

/// How a driver's place is written as a URL, and which of its options the URL's parts stand for. Whatever the form, options
/// follow as `?name=value&…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlForm {
    /// `inmem:`; there is no place to name.
    Nothing,
    /// `fs:/path` or `fs:relative/path`: the path is this option.
    Path(&'static str),
    /// `s3://host/path`: the host is one option, the path, without the slash before it and where there is one, another.
    HostAndPath {
        /// The option that the host stands for.
        host: &'static str,
        /// The option that the path stands for.
        path: &'static str,
    },
    /// `postgres://…`: the URL belongs to the storage's own client. All of it is this option, but for the parameters that are
    /// options of the driver or of the configuration.
    Whole(&'static str),
}

impl UrlForm {
    /// The option that names a path on this machine's disk, where there is one.
    pub const fn path_option(self) -> Option<&'static str> {
        match self {
            Self::Path(option) => Some(option),
            Self::Nothing | Self::HostAndPath { .. } | Self::Whole(_) => None,
        }
    }

    /// The form as `driver` has it, with the options' names where their values go: `fs:root`, `s3://bucket/prefix`.
    pub fn pattern(self, driver: &str) -> String {
        match self {
            Self::Nothing => format!("{driver}:"),
            Self::Path(path) => format!("{driver}:{path}"),
            Self::HostAndPath { host, path } => format!("{driver}://{host}/{path}"),
            Self::Whole(_) => format!("{driver}://…"),
        }
    }
}

/// Something that the storage behind a store can or cannot do, as the driver found out: stores of one protocol differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// What it is, in a word such as `conditional_create`.
    pub name: &'static str,
    /// How it stands, such as `yes` or `no`; never a secret.
    pub value: String,
    /// Where that is known from and what follows from it, in a sentence.
    pub about: String,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Swept {
    /// Leftovers that were removed: temporary files, orphan bytes, empty folders. What opening the place had removed
    /// before is not among them.
    pub removed: u64,
    /// Leftovers that were left, because a process that may be alive is at work on them.
    pub spared: u64,
}

/// How a registry opens stores of one kind.
#[async_trait]
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// What is fixed about it.
    fn info(&self) -> &'static DriverInfo;

    /// What a store opened with `options` advertises, as far as it is known before opening.
    fn capabilities(&self, options: &Options) -> Capabilities;

    /// Opens a bare store. Callers want the facade, which puts the Gate around it.
    ///
    /// # Errors
    /// `InvalidArgument` for options that cannot work together or a place that is not the driver's; `Unavailable` where
    /// another process holds the place; `Corrupt`; `Backend`.
    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError>;

    /// Opens a bare store to look into it: for tools, and also where the place can only be read. A driver that changes something
    /// by opening does not do so here: it makes no file, recovers nothing and brings nothing up to date, and says so where that is
    /// needed first. Puts and deletes may be refused. The default body is [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn open_for_reading(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        self.open(options, clock).await
    }

    /// Opens the place that `options` name, tells what the storage behind it can do, and lets go of it. Empty where storages of
    /// this driver do not differ, which is the default body.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn abilities(&self, options: &Options) -> Result<Vec<Ability>, StoreError> {
        let _ = options;
        Ok(Vec::new())
    }

    /// Opens the log by which processes on the place that `options` name tell each other what happens. Nothing where the driver
    /// has none, which is the default body.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn event_log(&self, options: &Options) -> Result<Option<Arc<dyn EventLog>>, StoreError> {
        let _ = options;
        Ok(None)
    }

    /// Opens the place that `options` name, removes what processes have left there that died in the middle of something,
    /// and lets go of it. Harms no artifact and no live process beside it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn sweep(&self, options: &Options) -> Result<Swept, StoreError>;
}

/// The drivers that can be opened by name.
#[derive(Debug, Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn Driver>>);

impl Registry {
    /// A registry without drivers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a driver.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where its name is taken, or is no driver name.
    pub fn register(&mut self, driver: Arc<dyn Driver>) -> Result<(), StoreError> {
        let name = driver.info().name;
        let legal = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !legal {
            return Err(StoreError::invalid(format!(
                "'{name}' is no driver name; it takes lower-case letters and digits and starts with a letter"
            )));
        }
        if self.0.contains_key(name) {
            return Err(StoreError::invalid(format!("a driver '{name}' is registered already")));
        }
        self.0.insert(name, driver);
        Ok(())
    }

    /// The driver called `name`.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) that lists the known ones.
    pub fn driver(&self, name: &str) -> Result<&Arc<dyn Driver>, StoreError> {
        self.0.get(name).ok_or_else(|| {
            StoreError::invalid(format!(
                "there is no driver '{name}'; {}",
                known(name, self.0.keys().copied())
            ))
        })
    }

    /// All drivers, by name.
    pub fn drivers(&self) -> impl Iterator<Item = &Arc<dyn Driver>> {
        self.0.values()
    }
}
