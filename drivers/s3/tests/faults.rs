//! The driver under faults: servers are killed, connections are cut or slow, other programs change and delete objects,
//! puts end half-way.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

/// Runs every test on the two servers that keep their objects if they are killed.
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

/// Runs every test on the server that loses everything if it is killed.
macro_rules! on_moto {
    ($($name:ident),+ $(,)?) => {
        mod moto { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(artifact_store_backends::S3Kind::Moto).await }
        )+ }
    };
}

/// Runs every test on all three servers.
macro_rules! on_each {
    ($($name:ident),+ $(,)?) => {
        on_both!($($name),+);
        on_moto!($($name),+);
    };
}

#[path = "faults/answers.rs"]
mod answers;
#[path = "faults/checksums.rs"]
mod checksums;
#[path = "faults/connections.rs"]
mod connections;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/orphans.rs"]
mod orphans;
#[path = "faults/outages.rs"]
mod outages;
