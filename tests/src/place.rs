//! The flavours a server program is started with, and the places on real servers that some of them need.
//!
//! A place is a schema of PostgreSQL or a prefix of a bucket, for one store; it goes when its last value goes. This module must
//! never know what is tested on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A kit of tests: what cannot be set up ends the test.
#![allow(clippy::missing_panics_doc)]

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use artifact_store_backends::{Postgres, S3, S3Kind};
use artifact_store_core::BoxError;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::flavours;

/// Narrows the flavours to those named, separated by commas: `inmem,fs,sqlite`.
pub const ONLY: &str = "ARTIFACT_STORE_TEST_ONLY";

/// A driver, and what is beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// `inmem`.
    Inmem,
    /// `fs`.
    Fs,
    /// `sqlite`.
    Sqlite,
    /// `postgres`.
    Postgres,
    /// `s3` on Garage.
    Garage,
    /// `s3` on s3s-fs.
    S3sFs,
}

impl Flavour {
    /// Every flavour.
    pub const ALL: [Self; 6] =
        [Self::Inmem, Self::Fs, Self::Sqlite, Self::Postgres, Self::Garage, Self::S3sFs];

    /// The name, as command lines spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inmem => "inmem",
            Self::Fs => "fs",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Garage => "garage",
            Self::S3sFs => "s3s-fs",
        }
    }

    /// The driver's name.
    pub const fn driver(self) -> &'static str {
        match self {
            Self::Garage | Self::S3sFs => "s3",
            _ => self.name(),
        }
    }

    /// Whether several processes can work on one place of it.
    pub const fn has_a_server(self) -> bool {
        matches!(self, Self::Postgres | Self::Garage | Self::S3sFs)
    }

    /// Whether it gives presigned URLs.
    pub const fn presigns(self) -> bool {
        matches!(self, Self::Garage | Self::S3sFs)
    }

    /// Whether racing puts of several processes are ordered by the storage: Garage ignores the condition of a put, and s3s-fs
    /// looks before it writes.
    pub const fn creates_once(self) -> bool {
        !matches!(self, Self::Garage | Self::S3sFs)
    }

    /// All names, for usage texts.
    pub fn names(separator: &str) -> String {
        Self::ALL.map(Self::name).join(separator)
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Flavour {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|flavour| flavour.name() == name);
        known.ok_or_else(|| format!("there is no flavour '{name}'; known: {}", Self::names(", ")))
    }
}

/// Every flavour, or those that [`ONLY`] names. What is left out is said once.
pub fn flavours() -> Vec<Flavour> {
    static CHOSEN: OnceLock<Vec<Flavour>> = OnceLock::new();
    CHOSEN
        .get_or_init(|| match std::env::var(ONLY) {
            Ok(names) if !names.is_empty() => {
                eprintln!("narrowed on purpose to {names}");
                names
                    .split(',')
                    .map(|name| name.parse().unwrap_or_else(|error| panic!("{ONLY}: {error}")))
                    .collect()
            }
            _ => Flavour::ALL.to_vec(),
        })
        .clone()
}

/// Runs a future to its end on a runtime of the kit's own, from wherever.
fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"));
    // A thread of a runtime must not wait for a future itself.
    std::thread::spawn(move || runtime.block_on(future)).join().expect("the kit does not panic")
}

/// Where one store on a real server keeps its artifacts.
#[derive(Debug, Clone)]
pub struct Place(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Schema { server: &'static Postgres, schema: String },
    Prefix { server: &'static S3, prefix: String },
}

impl Place {
    /// An empty place for a flavour that needs one.
    pub fn of(flavour: Flavour) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Servers outlive a run of the tests where their addresses are given.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let name = format!("t{now:x}_{:x}_{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let inner = match flavour {
            Flavour::Inmem | Flavour::Fs | Flavour::Sqlite => return None,
            Flavour::Postgres => Inner::Schema { server: must(wait(Postgres::shared())), schema: name },
            Flavour::Garage => Inner::Prefix { server: must(wait(S3::shared(S3Kind::Garage))), prefix: name },
            Flavour::S3sFs => Inner::Prefix { server: must(wait(S3::shared(S3Kind::S3sFs))), prefix: name },
        };
        Some(Self(Arc::new(inner)))
    }

    /// The keys of the server program's configuration that name it.
    pub fn keys(&self) -> Vec<(String, Value)> {
        let keys = match &*self.0 {
            Inner::Schema { server, .. } => vec![("dsn", json!(server.url()))],
            Inner::Prefix { server, prefix } => vec![
                ("s3_bucket", json!(server.bucket())),
                ("s3_prefix", json!(prefix)),
                ("s3_endpoint", json!(server.endpoint())),
                ("s3_region", json!(server.region())),
                ("s3_access_key_id", json!(server.access_key_id())),
                ("s3_secret_access_key", json!(server.secret_access_key())),
                ("s3_use_path_style", json!(true)),
            ],
        };
        keys.into_iter().map(|(key, value)| (format!("artifacts.{key}"), value)).collect()
    }

    /// The driver's own options that name it.
    pub fn options(&self) -> Vec<(&'static str, Value)> {
        match &*self.0 {
            Inner::Schema { schema, .. } => vec![("schema", json!(schema))],
            // s3s-fs fails a listing that meets a deletion; it is asked again.
            Inner::Prefix { server, .. } if server.kind() == S3Kind::S3sFs => {
                vec![("max_attempts", json!(10))]
            }
            Inner::Prefix { .. } => Vec::new(),
        }
    }

    /// Its store as a URL. What was given up there counts as abandoned at once: nobody else works in a place of the tests.
    pub fn url(&self) -> String {
        match &*self.0 {
            Inner::Schema { server, schema } => {
                let url = server.url();
                let joint = if url.contains('?') { '&' } else { '?' };
                format!("{url}{joint}schema={schema}")
            }
            Inner::Prefix { server, prefix } => {
                let parameters = [
                    ("endpoint", server.endpoint()),
                    ("region", server.region()),
                    ("access_key_id", server.access_key_id()),
                    ("secret_access_key", server.secret_access_key()),
                    ("path_style", "true"),
                    ("upload_ttl", "0s"),
                    ("max_attempts", "10"),
                ];
                let parameters = parameters
                    .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
                format!("s3://{}/{prefix}?{}", server.bucket(), parameters.join("&"))
            }
        }
    }

    /// What the raw storage holds here that belongs to no visible artifact, one line each.
    ///
    /// # Errors
    /// Where the raw storage cannot be looked at.
    pub async fn residue(&self) -> Result<Vec<String>, BoxError> {
        match &*self.0 {
            Inner::Schema { server, schema } => {
                Ok(artifact_store_postgres::audit(server.url(), schema).await?)
            }
            Inner::Prefix { server, prefix } => flavours::s3::residue(server, server.bucket(), prefix).await,
        }
    }

    /// Ruins the storage here and nowhere else: what stands in it can be read by no store any more.
    pub fn ruin(&self) {
        let place = self.clone();
        let done = wait(async move {
            match &*place.0 {
                Inner::Schema { server, schema } => {
                    flavours::postgres::drop_schema(server.url(), schema).await
                }
                Inner::Prefix { server, prefix } => flavours::s3::overwrite(server, prefix).await,
            }
        });
        done.expect("a place can be ruined");
    }

    /// As [`residue`](Self::residue), from a thread that may wait.
    ///
    /// # Errors
    /// Where the raw storage cannot be looked at.
    pub fn wait_for_residue(&self) -> Result<Vec<String>, BoxError> {
        let place = self.clone();
        wait(async move { place.residue().await })
    }
}

/// The store that a program is told to work on.
#[derive(Debug)]
pub struct Target {
    /// As a URL.
    pub url: String,
    /// The place that was made for it, which goes with the value.
    place: Option<Place>,
}

impl Target {
    /// A flavour's name stands for a fresh place of it, anything else is a store's URL.
    pub fn of(argument: &str) -> Self {
        let place = argument.parse().ok().and_then(Place::of);
        Self { url: place.as_ref().map_or_else(|| argument.to_owned(), Place::url), place }
    }

    /// What its raw storage holds that belongs to no visible artifact, one line each.
    ///
    /// # Errors
    /// Where the raw storage cannot be looked at.
    pub async fn residue(&self) -> Result<Vec<String>, BoxError> {
        match &self.place {
            Some(place) => place.residue().await,
            None => flavours::residue(&self.url).await,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let done = match self {
            Self::Schema { server, schema } => {
                let (server, schema) = (*server, std::mem::take(schema));
                wait(async move { flavours::postgres::drop_schema(server.url(), &schema).await })
            }
            Self::Prefix { server, prefix } => {
                let (server, prefix) = (*server, std::mem::take(prefix));
                wait(async move { flavours::s3::remove(server, &prefix).await })
            }
        };
        if let Err(error) = done {
            eprintln!("a place of the tests is left behind: {error}");
        }
    }
}

fn must<T>(result: Result<T, artifact_store_backends::Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
