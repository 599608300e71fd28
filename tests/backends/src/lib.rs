//! Real servers for the tests: PostgreSQL, two S3 servers, a proxy that breaks connections, and one that counts requests.
//!
//! A test asks for a server and gets one, or an error that names what to install; nothing is skipped. A server comes
//! from an address in the environment, from Docker, or from a process of its own on a free loopback port, in this
//! order; `ARTIFACT_STORE_TEST_BACKENDS=env|docker|local` forces one of them. What was started here ends with the
//! process that started it, however that ends: a small shell keeps each server, and ends it when we are gone.
//!
//! | variable | what it gives |
//! |---|---|
//! | `ARTIFACT_STORE_TEST_POSTGRES_URL` | `postgres://user:password@host:port/database` of a superuser |
//! | `ARTIFACT_STORE_TEST_GARAGE_URL`, `ARTIFACT_STORE_TEST_S3S_FS_URL` | `http://key:secret@host:port/bucket?region=R` |
//! | `ARTIFACT_STORE_TEST_POSTGRES_BIN` | the folder of `initdb` and `postgres` |
//! | `ARTIFACT_STORE_TEST_GARAGE_BIN` | the Garage binary |
//! | `ARTIFACT_STORE_TOOLS` | the folder of tools built for the tests, else `~/.cache/artifact-store` |
//!
//! This crate must never know a driver or the contract: it knows servers.

mod address;
mod counter;
mod docker;
mod garage;
mod ports;
mod postgres;
mod process;
mod programs;
mod proxy;
mod pump;
mod ready;
mod route;
mod s3;
mod s3s_fs;
mod server;
mod supervisor;

pub use counter::{Counter, Request};
pub use postgres::Postgres;
pub use proxy::{Mode, Proxy};
pub use route::Via;
pub use s3::{S3, S3Kind};

/// What went wrong with a server, for a person to read.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
