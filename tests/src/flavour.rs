//! The flavours a server is started with, and the backends on real servers that some of them need.
//!
//! A backend is a schema of PostgreSQL or a prefix of a bucket, for one store. Dropping the last value deletes it.
//! This module must never know what is tested on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failed setup fails the test.
#![allow(clippy::missing_panics_doc)]

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use artifact_store_backends::{Conditions, Postgres, S3, S3Kind};
use artifact_store_conformance::Backend;
use artifact_store_core::BoxError;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::matrix_rows;
use crate::matrix_rows::object_store::servers::{ServerBackend as CloudBackend, StorageServer};

/// Limits the flavours to those named, separated by commas: `inmem,fs,sqlite`.
pub const ONLY_VARIABLE: &str = "ARTIFACT_STORE_TEST_ONLY";
/// Adds moto to the rows of the matrix if this variable is set and not empty.
pub const LONG_VARIABLE: &str = "ARTIFACT_STORE_TEST_LONG";

/// A driver and the storage under it.
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
    /// `s3` on moto.
    Moto,
    /// `gcs` on fake-gcs-server.
    FakeGcs,
    /// `azure` on the stand-in for Azure Blob Storage.
    AzureStandIn,
    /// The driver over the crate `object_store`, on its stores in memory and in local files, and with its S3 client.
    /// Only the matrix has it: no configuration of the server opens such a store.
    ObjectStore,
}

impl Flavour {
    /// Every flavour.
    pub const ALL: [Self; 10] = [
        Self::Inmem,
        Self::Fs,
        Self::Sqlite,
        Self::Postgres,
        Self::Garage,
        Self::S3sFs,
        Self::Moto,
        Self::FakeGcs,
        Self::AzureStandIn,
        Self::ObjectStore,
    ];

    /// The name, as used on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inmem => "inmem",
            Self::Fs => "fs",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Garage => "garage",
            Self::S3sFs => "s3s-fs",
            Self::Moto => "moto",
            Self::FakeGcs => "fake-gcs",
            Self::AzureStandIn => "azure-stand-in",
            Self::ObjectStore => "object-store",
        }
    }

    /// The driver's name.
    pub const fn driver(self) -> &'static str {
        match self {
            Self::Garage | Self::S3sFs | Self::Moto => "s3",
            Self::FakeGcs => "gcs",
            Self::AzureStandIn => "azure",
            _ => self.name(),
        }
    }

    /// Whether several processes can work on one store of it.
    pub const fn has_server(self) -> bool {
        matches!(
            self,
            Self::Postgres | Self::Garage | Self::S3sFs | Self::Moto | Self::FakeGcs | Self::AzureStandIn
        )
    }

    /// Whether it presigns URLs.
    pub const fn supports_presign(self) -> bool {
        matches!(self, Self::Garage | Self::S3sFs | Self::Moto)
    }

    /// Whether the storage accepts the presigned URLs. moto with authentication only accepts signatures in a header.
    pub const fn accepts_presigned_urls(self) -> bool {
        matches!(self, Self::Garage | Self::S3sFs)
    }

    /// Whether the wire tests run on it without being told to. The others are to the server as those that run, and take
    /// up to ten minutes each.
    const fn is_default(self) -> bool {
        !matches!(self, Self::Moto | Self::FakeGcs | Self::AzureStandIn | Self::ObjectStore)
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
        known.ok_or_else(|| format!("unknown flavour '{name}'; known: {}", Self::names(", ")))
    }
}

/// The flavours that the wire tests run on: those that [`ONLY_VARIABLE`] names, except [`Flavour::ObjectStore`]. If it is
/// not set: inmem, fs, sqlite, postgres, garage and s3s-fs.
pub fn flavours() -> Vec<Flavour> {
    let selected = selected_flavours()
        .unwrap_or_else(|| Flavour::ALL.into_iter().filter(|it| it.is_default()).collect());
    selected.into_iter().filter(|flavour| *flavour != Flavour::ObjectStore).collect()
}

/// The flavours of the matrix: those that [`ONLY_VARIABLE`] names. If it is not set: all, but moto only if
/// [`LONG_VARIABLE`] is set.
pub(crate) fn matrix_flavours() -> Vec<Flavour> {
    let long = std::env::var_os(LONG_VARIABLE).is_some_and(|set| !set.is_empty());
    let all = || Flavour::ALL.into_iter().filter(|flavour| long || *flavour != Flavour::Moto).collect();
    selected_flavours().unwrap_or_else(all)
}

/// The flavours that [`ONLY_VARIABLE`] names, if it is set. The first call prints that the run is narrowed.
fn selected_flavours() -> Option<Vec<Flavour>> {
    static SELECTED: OnceLock<Option<Vec<Flavour>>> = OnceLock::new();
    SELECTED
        .get_or_init(|| {
            let names = std::env::var(ONLY_VARIABLE).ok().filter(|names| !names.is_empty())?;
            eprintln!("narrowed on purpose to {names}");
            let parse = |name: &str| name.parse().unwrap_or_else(|error| panic!("{ONLY_VARIABLE}: {error}"));
            Some(names.split(',').map(parse).collect())
        })
        .clone()
}

/// Runs a future to completion on a runtime of this module, from any thread.
fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"));
    // A thread of a runtime must not block on a future itself.
    std::thread::spawn(move || runtime.block_on(future)).join().expect("the future does not panic")
}

/// The storage of one store on a real server.
#[derive(Debug, Clone)]
pub struct ServerBackend(Arc<Location>);

#[derive(Debug)]
enum Location {
    Schema {
        server: &'static Postgres,
        schema: String,
    },
    Prefix {
        server: &'static S3,
        bucket: String,
        prefix: String,
    },
    /// A bucket of Google Cloud Storage or a container of Azure, and the options of the driver that select it.
    Cloud {
        backend: CloudBackend,
        options: Vec<(&'static str, String)>,
    },
}

impl ServerBackend {
    /// Creates an empty backend if the flavour needs one.
    pub fn create(flavour: Flavour) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // A server outlives the test run if its address comes from the environment, so names must be unique over
        // time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let name = format!("t{now:x}_{:x}_{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let location = match flavour {
            Flavour::Inmem | Flavour::Fs | Flavour::Sqlite | Flavour::ObjectStore => return None,
            Flavour::Postgres => {
                Location::Schema { server: unwrap_backend(block_on(Postgres::shared())), schema: name }
            }
            Flavour::Garage => create_prefix(S3Kind::Garage),
            Flavour::S3sFs => create_prefix(S3Kind::S3sFs),
            Flavour::Moto => create_prefix(S3Kind::Moto),
            Flavour::FakeGcs => create_bucket(StorageServer::FakeGcs(Conditions::Honoured)),
            Flavour::AzureStandIn => create_bucket(StorageServer::AzureStandIn),
        };
        Some(Self(Arc::new(location)))
    }

    /// The keys of the server's configuration that select it.
    pub fn config_keys(&self) -> Vec<(String, Value)> {
        let keys = match &*self.0 {
            Location::Schema { server, .. } => vec![("dsn", json!(server.url()))],
            Location::Prefix { server, bucket, prefix } => vec![
                ("s3_bucket", json!(bucket)),
                ("s3_prefix", json!(prefix)),
                ("s3_endpoint", json!(server.endpoint())),
                ("s3_region", json!(server.region())),
                ("s3_access_key_id", json!(server.access_key_id())),
                ("s3_secret_access_key", json!(server.secret_access_key())),
                ("s3_use_path_style", json!(true)),
            ],
            Location::Cloud { .. } => Vec::new(),
        };
        keys.into_iter().map(|(key, value)| (format!("artifacts.{key}"), value)).collect()
    }

    /// The driver's own options that select it.
    pub fn driver_options(&self) -> Vec<(&'static str, Value)> {
        match &*self.0 {
            Location::Schema { schema, .. } => vec![("schema", json!(schema))],
            // s3s-fs fails a listing that runs during a deletion, so it is retried more often.
            Location::Prefix { server, .. } if server.kind() == S3Kind::S3sFs => {
                vec![("max_attempts", json!(10))]
            }
            // moto checks before it writes. So concurrent puts must not rely on its conditional writes.
            Location::Prefix { server, .. } if server.kind() == S3Kind::Moto => {
                vec![("conditional_create", json!("no"))]
            }
            Location::Prefix { .. } => Vec::new(),
            Location::Cloud { options, .. } => {
                options.iter().map(|(name, value)| (*name, json!(value))).collect()
            }
        }
    }

    /// The URL of its store with which a sweep deletes each orphan at once, because nothing else works in a backend of the
    /// tests.
    pub fn sweep_url(&self) -> String {
        match &*self.0 {
            // A put refuses to work with it, see [`url`](Self::url).
            Location::Cloud { .. } => format!("{}&upload_ttl=0s", self.url()),
            Location::Schema { .. } | Location::Prefix { .. } => self.url(),
        }
    }

    /// The URL of its store. Where puts work with it, abandoned uploads expire at once, because nothing else works in a
    /// backend of the tests. The clouds need some time: their puts end before their data can count as abandoned.
    pub fn url(&self) -> String {
        match &*self.0 {
            Location::Schema { server, schema } => {
                let url = server.url();
                let joint = if url.contains('?') { '&' } else { '?' };
                format!("{url}{joint}schema={schema}")
            }
            Location::Prefix { server, bucket, prefix } => {
                let parameters = [
                    ("endpoint", server.endpoint()),
                    ("region", server.region()),
                    ("access_key_id", server.access_key_id()),
                    ("secret_access_key", server.secret_access_key()),
                    ("path_style", "true"),
                    ("upload_ttl", "0s"),
                    ("max_attempts", "10"),
                    ("conditional_create", if server.kind() == S3Kind::Moto { "no" } else { "probe" }),
                ];
                format!("s3://{bucket}/{prefix}?{}", url_query(parameters))
            }
            Location::Cloud { backend, options } => {
                let is_host_or_path = |name: &str| matches!(name, "bucket" | "container" | "prefix");
                let parameters = options.iter().map(|(name, value)| (*name, value.as_str()));
                let parameters = parameters.filter(|(name, _)| !is_host_or_path(name));
                format!("{}?{}", backend.address(), url_query(parameters))
            }
        }
    }

    /// What the raw storage holds that belongs to no visible artifact, one line each.
    ///
    /// # Errors
    /// If the raw storage cannot be read.
    pub async fn residue(&self) -> Result<Vec<String>, BoxError> {
        match &*self.0 {
            Location::Schema { server, schema } => {
                Ok(artifact_store_postgres::audit(server.url(), schema).await?)
            }
            Location::Prefix { server, bucket, prefix } => {
                matrix_rows::s3::residue(server, bucket, prefix).await
            }
            Location::Cloud { backend, .. } => backend.residue().await,
        }
    }

    /// Corrupts this storage and no other: no store can read what it holds.
    pub fn corrupt(&self) {
        let backend = self.clone();
        let done = block_on(async move {
            match &*backend.0 {
                Location::Schema { server, schema } => {
                    matrix_rows::postgres::drop_schema(server.url(), schema).await
                }
                Location::Prefix { server, bucket, prefix } => {
                    matrix_rows::s3::overwrite(server, bucket, prefix).await
                }
                Location::Cloud { backend, .. } => backend.overwrite().await,
            }
        });
        done.expect("the storage can be corrupted");
    }

    /// Deletes the record of every artifact in a schema and keeps its bytes, as an interrupted deletion does.
    pub fn delete_records(&self) {
        let Location::Schema { server, schema } = &*self.0 else { panic!("{self:?} has no rows") };
        let (server, schema) = (*server, schema.clone());
        block_on(async move { matrix_rows::postgres::drop_records(server.url(), &schema).await })
            .expect("the records can be deleted");
    }

    /// The same as [`residue`](Self::residue), for a thread that may block.
    ///
    /// # Errors
    /// If the raw storage cannot be read.
    pub fn residue_blocking(&self) -> Result<Vec<String>, BoxError> {
        let backend = self.clone();
        block_on(async move { backend.residue().await })
    }
}

/// The store that a program works on.
#[derive(Debug)]
pub struct StoreTarget {
    /// Its URL.
    pub url: String,
    /// The URL with which a sweep deletes each orphan at once.
    pub sweep_url: String,
    /// The backend that was created for it, and is deleted with it.
    backend: Option<ServerBackend>,
}

impl StoreTarget {
    /// Creates a fresh backend if `argument` is the name of a flavour with a server. Otherwise `argument` is the URL
    /// of a store.
    pub fn from_argument(argument: &str) -> Self {
        let backend = argument.parse().ok().and_then(ServerBackend::create);
        let given = || argument.to_owned();
        Self {
            url: backend.as_ref().map_or_else(given, ServerBackend::url),
            sweep_url: backend.as_ref().map_or_else(given, ServerBackend::sweep_url),
            backend,
        }
    }

    /// What its raw storage holds that belongs to no visible artifact, one line each.
    ///
    /// # Errors
    /// If the raw storage cannot be read.
    pub async fn residue(&self) -> Result<Vec<String>, BoxError> {
        match &self.backend {
            Some(backend) => backend.residue().await,
            None => matrix_rows::residue(&self.url).await,
        }
    }
}

impl Drop for Location {
    fn drop(&mut self) {
        let done = match self {
            Self::Schema { server, schema } => {
                let (server, schema) = (*server, std::mem::take(schema));
                block_on(async move { matrix_rows::postgres::drop_schema(server.url(), &schema).await })
            }
            Self::Prefix { server, bucket, prefix } => {
                let (server, bucket, prefix) = (*server, std::mem::take(bucket), std::mem::take(prefix));
                block_on(async move { matrix_rows::s3::remove(server, &bucket, &prefix).await })
            }
            Self::Cloud { backend, .. } => {
                let backend = backend.clone();
                block_on(async move { backend.remove().await })
            }
        };
        if let Err(error) = done {
            eprintln!("a test backend was not deleted: {error}");
        }
    }
}

/// Creates a prefix. It gets a bucket of its own if the server reads the whole bucket for each listing.
fn create_prefix(kind: S3Kind) -> Location {
    let server = unwrap_backend(block_on(S3::shared(kind)));
    let (bucket, prefix) = unwrap_backend(block_on(matrix_rows::s3::fresh_bucket_and_prefix(server)));
    Location::Prefix { server, bucket, prefix }
}

/// Creates a bucket or a container.
fn create_bucket(server: StorageServer) -> Location {
    let created = block_on(async move {
        let backend = CloudBackend::new(server).await?;
        let options = backend.driver_options().await?;
        Ok(Location::Cloud { backend, options })
    });
    unwrap_backend(created)
}

/// The query of a URL.
fn url_query<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let encode = |(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    parameters.into_iter().map(encode).collect::<Vec<_>>().join("&")
}

fn unwrap_backend<T>(result: Result<T, artifact_store_backends::Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
