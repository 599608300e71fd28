//! What the driver does when things break: real servers are killed, connections cut and held up, objects changed and
//! removed behind its back, puts ended half-way.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

/// Every test on both servers.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod garage { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(artifact_store_backends::S3Kind::Garage).await }
        )+ }
        mod s3s_fs { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(artifact_store_backends::S3Kind::S3sFs).await }
        )+ }
    };
}

#[path = "faults/checksums.rs"]
mod checksums;
#[path = "faults/connections.rs"]
mod connections;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/leftovers.rs"]
mod leftovers;
#[path = "faults/outages.rs"]
mod outages;
