//! Both S3 servers check signatures, and keep their objects through a kill.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::process::Command;

use artifact_store_backends::{S3, S3Kind};

/// One signed request by curl; answers the status and the body.
fn curl(s3: &S3, secret: &str, path: &str, more: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args([
            "-sS",
            "--path-as-is",
            "-w",
            "\n%{http_code}",
            "--aws-sigv4",
            &format!("aws:amz:{}:s3", s3.region()),
        ])
        .args(["--user", &format!("{}:{secret}", s3.access_key_id())])
        .args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
        .args(more)
        .arg(format!("{}/{}/{path}", s3.endpoint(), s3.bucket()))
        .output()
        .expect("curl is needed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

fn put(s3: &S3, path: &str, text: &str) -> String {
    curl(s3, s3.secret_access_key(), path, &["-X", "PUT", "--data-binary", text]).0
}

fn get(s3: &S3, path: &str) -> (String, String) {
    curl(s3, s3.secret_access_key(), path, &[])
}

async fn keeps_its_objects(kind: S3Kind) {
    let s3 = S3::own(kind).await.unwrap();
    assert_eq!(put(&s3, "a", "seven"), "200");
    s3.kill().await.unwrap();
    assert_eq!(get(&s3, "a").0, "000");
    s3.start().await.unwrap();
    assert_eq!(get(&s3, "a"), ("200".to_owned(), "seven".to_owned()));
}

async fn checks_signatures(kind: S3Kind) {
    let s3 = S3::shared(kind).await.unwrap();
    assert_eq!(s3.kind(), kind);
    assert_eq!(put(s3, "signed", "one"), "200");
    assert_eq!(curl(s3, "another secret", "signed", &[]).0, "403");
    assert_eq!(get(s3, "signed"), ("200".to_owned(), "one".to_owned()));
}

#[tokio::test]
async fn garage_keeps_its_objects_through_a_kill() {
    keeps_its_objects(S3Kind::Garage).await;
}

#[tokio::test]
async fn s3s_fs_keeps_its_objects_through_a_kill() {
    keeps_its_objects(S3Kind::S3sFs).await;
}

#[tokio::test]
async fn garage_checks_signatures() {
    checks_signatures(S3Kind::Garage).await;
}

#[tokio::test]
async fn s3s_fs_checks_signatures() {
    checks_signatures(S3Kind::S3sFs).await;
}
