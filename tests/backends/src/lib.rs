//! Servers for the tests: PostgreSQL, three S3 servers, fake-gcs-server for Google Cloud Storage, a stand-in for Azure
//! Blob Storage, and proxies that break connections, count requests, reject long metadata, and answer or delay single
//! requests. All but the stand-in are real servers; it is named a stand-in wherever it appears.
//!
//! A test that needs a server gets one, or an error that names what to install. No test is skipped. A server comes from
//! a URL in the environment, from Docker, or from a local process on a free loopback port, in this order.
//! `ARTIFACT_STORE_TEST_BACKENDS=env|docker|local` forces one of them. With `env,docker` or `env,local`, servers have the
//! addresses in the environment, and only those that have none, or that a test kills, come from Docker or a process.
//! Servers that were started here end with the process that started them, even if it is killed: a shell supervises each
//! server and ends it when that process ends.
//!
//! | variable | value |
//! |---|---|
//! | `ARTIFACT_STORE_TEST_POSTGRES_URL` | `postgres://user:password@host:port/database` of a superuser |
//! | `ARTIFACT_STORE_TEST_GARAGE_URL`, `ARTIFACT_STORE_TEST_S3S_FS_URL`, `ARTIFACT_STORE_TEST_MOTO_URL` | `http://key:secret@host:port/bucket?region=R` |
//! | `ARTIFACT_STORE_TEST_FAKE_GCS_URL` | `http://host:port/bucket` of fake-gcs-server itself, without the adapter |
//! | `ARTIFACT_STORE_TEST_AZURE_STAND_IN_URL` | `http://account:key@host:port/container` of the stand-in |
//! | `ARTIFACT_STORE_TEST_POSTGRES_BIN` | the directory of `initdb` and `postgres` |
//! | `ARTIFACT_STORE_TEST_GARAGE_BIN` | the Garage binary |
//! | `ARTIFACT_STORE_TEST_MOTO_BIN` | `moto_server` in a Python venv |
//! | `ARTIFACT_STORE_TEST_FAKE_GCS_BIN` | the binary of fake-gcs-server |
//! | `ARTIFACT_STORE_TOOLS` | the directory of tools built for the tests; default `~/.cache/artifact-store` |
//!
//! This crate must never know a driver or the contract of the store.

mod azure;
mod azure_stand_in;
mod docker;
mod fake_gcs;
mod fault_proxy;
mod garage;
mod gcs_adapter;
mod http_proxy;
mod http_server;
mod metadata_limit;
mod moto;
mod own_program;
mod ports;
mod postgres;
mod process;
mod programs;
mod proxy;
mod proxy_connection;
mod readiness;
mod request_counter;
mod response_body;
mod s3;
mod s3s_fs;
mod server;
mod server_url;
mod service_account;
mod source;
mod supervisor;
mod xml;

pub use azure::serve_azure_stand_in;
pub use azure_stand_in::AzureStandIn;
pub use fake_gcs::FakeGcs;
pub use fault_proxy::{Fault, FaultProxy, RequestHead};
pub use gcs_adapter::{Conditions, serve_gcs_adapter};
pub use metadata_limit::MetadataLimitProxy;
pub use postgres::Postgres;
pub use proxy::{Proxy, ProxyMode};
pub use request_counter::{CountedRequest, RequestCounter};
pub use s3::{AccessKey, BucketKind, LockMode, S3, S3Kind};
pub use source::LaunchMethod;

/// An error with a message for people.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
