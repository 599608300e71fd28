//! PostgreSQL starts, accepts sessions, and keeps its data through a kill.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::process::Command;

use artifact_store_backends::Postgres;

/// Runs a statement in a separate session.
fn sql(url: &str, statement: &str) -> Result<String, String> {
    let output = Command::new("psql").args(["-XAtq", "-c", statement, url]).output().expect("psql is needed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test]
async fn the_shared_server_takes_sessions_of_a_superuser() {
    let postgres = Postgres::shared().await.unwrap();
    let superuser = "SELECT rolsuper, current_database(), current_setting('fsync') FROM pg_roles WHERE rolname = current_user";
    assert_eq!(sql(postgres.url(), superuser).unwrap(), "t|artifacts|on");
}

#[tokio::test]
async fn the_database_is_utf8_and_sorts_by_bytes() {
    let postgres = Postgres::shared().await.unwrap();
    let how = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()";
    assert_eq!(sql(postgres.url(), how).unwrap(), "UTF8|C");
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_kill() {
    let postgres = Postgres::dedicated().await.unwrap();
    sql(postgres.url(), "CREATE TABLE t (x int); INSERT INTO t VALUES (7)").unwrap();
    postgres.kill().await.unwrap();
    sql(postgres.url(), "SELECT 1").unwrap_err();
    postgres.start().await.unwrap();
    assert_eq!(sql(postgres.url(), "SELECT x FROM t").unwrap(), "7");
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let postgres = Postgres::shared().await.unwrap();
    let refused = sql(&postgres.url().replace(":secret@", ":wrong@"), "SELECT 1").unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
}

#[tokio::test]
async fn the_shared_server_is_not_killed() {
    let postgres = Postgres::shared().await.unwrap();
    postgres.kill().await.unwrap_err();
    assert_eq!(sql(postgres.url(), "SELECT 1").unwrap(), "1");
}
