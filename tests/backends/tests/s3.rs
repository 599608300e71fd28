//! All S3 servers verify signatures. Those with a disk keep their objects through a kill. Also tests the features that
//! only moto has.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::process::Command;

use artifact_store_backends::{AccessKey, BucketKind, LockMode, S3, S3Kind};

/// Sends one signed request to the shared bucket with curl. Returns the status and the body.
fn curl(s3: &S3, secret: &str, path: &str, more: &[&str]) -> (String, String) {
    let key =
        AccessKey { access_key_id: s3.access_key_id().to_owned(), secret_access_key: secret.to_owned() };
    curl_as(s3, &key, &format!("{}/{path}", s3.bucket()), more)
}

/// Like [`curl`], with another key and any path.
fn curl_as(s3: &S3, key: &AccessKey, path: &str, more: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args([
            "-sS",
            "--path-as-is",
            "-w",
            "\n%{http_code}",
            "--aws-sigv4",
            &format!("aws:amz:{}:s3", s3.region()),
        ])
        .args(["--user", &format!("{}:{}", key.access_key_id, key.secret_access_key)])
        .args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
        // curl's default content type is a form, of which moto stores nothing.
        .args(["-H", "content-type: application/octet-stream"])
        .args(more)
        .arg(format!("{}/{path}", s3.endpoint()))
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
    let s3 = S3::dedicated(kind).await.unwrap();
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

#[tokio::test]
async fn moto_checks_signatures() {
    checks_signatures(S3Kind::Moto).await;
}

fn admin(s3: &S3) -> AccessKey {
    AccessKey {
        access_key_id: s3.access_key_id().to_owned(),
        secret_access_key: s3.secret_access_key().to_owned(),
    }
}

/// Sends an unsigned request. Returns the status.
fn unsigned(s3: &S3, path: &str) -> String {
    let arguments = ["-sS", "-o", "/dev/null", "-w", "%{http_code}"];
    let url = format!("{}/{}/{path}", s3.endpoint(), s3.bucket());
    let output = Command::new("curl").args(arguments).arg(url).output().expect("curl is needed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn moto_rejects_unsigned_requests() {
    let s3 = S3::shared(S3Kind::Moto).await.unwrap();
    assert_eq!(put(s3, "secret", "secret"), "200");
    assert_eq!(unsigned(s3, "secret"), "403");
    // moto responds with 500 if the object does not exist.
    assert_eq!(unsigned(s3, "nothing"), "500");
}

#[tokio::test]
async fn moto_lets_a_user_do_what_the_policy_says_and_nothing_else() {
    let s3 = S3::shared(S3Kind::Moto).await.unwrap();
    assert_eq!(put(s3, "policy/a", "seven"), "200");
    let policy = |actions: &str| {
        format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": [{actions}],
                 "Resource": ["arn:aws:s3:::{bucket}", "arn:aws:s3:::{bucket}/policy/*"]}}]}}"#,
            bucket = s3.bucket()
        )
    };
    let list = format!("{}?list-type=2&prefix=policy%2F", s3.bucket());
    let (own, foreign) = (format!("{}/policy/a", s3.bucket()), format!("{}/signed-elsewhere", s3.bucket()));
    let new = format!("{}/policy/new", s3.bucket());
    let write: &[&str] = &["-X", "PUT", "--data-binary", "new"];
    let tried = async |actions: &str| {
        let key = s3.create_user(&policy(actions)).await.unwrap();
        let status = |path: &str, more: &[&str]| curl_as(s3, &key, path, more).0;
        [status(&own, &[]), status(&new, write), status(&list, &[]), status(&own, &["-X", "DELETE"])]
    };
    assert_eq!(tried(r#""s3:GetObject""#).await, ["200", "403", "403", "403"]);
    assert_eq!(tried(r#""s3:ListBucket""#).await, ["403", "403", "200", "403"]);
    assert_eq!(tried(r#""s3:GetObject", "s3:PutObject""#).await, ["200", "200", "403", "403"]);
    assert_eq!(tried(r#""s3:*""#).await, ["200", "200", "200", "204"]);
    let key = s3.create_user(&policy(r#""s3:*""#)).await.unwrap();
    assert_eq!(curl_as(s3, &key, &foreign, write).0, "403", "elsewhere in the bucket");
    let wrong = AccessKey { secret_access_key: "wrong".to_owned(), ..key };
    assert_eq!(curl_as(s3, &wrong, &new, write).0, "403", "another secret");
}

#[tokio::test]
async fn moto_makes_buckets_with_versions_and_with_locks() {
    let s3 = S3::shared(S3Kind::Moto).await.unwrap();
    let write: &[&str] = &["-X", "PUT", "--data-binary", "new"];
    let with =
        |bucket: &str, path: &str, more: &[&str]| curl_as(s3, &admin(s3), &format!("{bucket}{path}"), more);

    let plain = s3.create_bucket(BucketKind::Plain).await.unwrap();
    assert!(!with(&plain, "?versioning=", &[]).1.contains("Enabled"));

    let versioned = s3.create_bucket(BucketKind::Versioned).await.unwrap();
    assert_eq!(with(&versioned, "/a", write).0, "200");
    assert_eq!(with(&versioned, "/a", write).0, "200");
    assert_eq!(with(&versioned, "/a", &["-X", "DELETE"]).0, "204");
    let versions = with(&versioned, "?versions=", &[]).1;
    assert_eq!(
        (versions.matches("<Version>").count(), versions.matches("<DeleteMarker>").count()),
        (2, 1),
        "{versions}"
    );

    for mode in [LockMode::Governance, LockMode::Compliance] {
        let locked = s3.create_bucket(BucketKind::ObjectLock { mode, days: 2 }).await.unwrap();
        let (status, body) = with(&locked, "/a", write);
        assert_eq!(status, "400", "a put without a checksum: {body}");
        let algorithm = ["-H", "x-amz-sdk-checksum-algorithm: CRC32", "-H", "x-amz-checksum-crc32: hTTCeA=="];
        assert_eq!(with(&locked, "/a", &[write, &algorithm].concat()).0, "200");
        let versions = with(&locked, "?versions=", &[]).1;
        let (_, rest) = versions.split_once("<VersionId>").unwrap();
        let (version, _) = rest.split_once("</VersionId>").unwrap();
        let gone = with(&locked, &format!("/a?versionId={version}"), &["-X", "DELETE"]);
        assert_eq!(gone.0, "403", "{}", gone.1);
    }
    let error = S3::shared(S3Kind::S3sFs).await.unwrap().create_bucket(BucketKind::Versioned).await;
    assert!(error.unwrap_err().to_string().contains("S3sFs"));
}

#[tokio::test]
async fn a_killed_moto_starts_again_with_the_same_key_and_an_empty_bucket() {
    let s3 = S3::dedicated(S3Kind::Moto).await.unwrap();
    assert_eq!(put(&s3, "a", "seven"), "200");
    s3.kill().await.unwrap();
    assert_eq!(get(&s3, "a").0, "000");
    s3.start().await.unwrap();
    assert_eq!(get(&s3, "a").0, "404");
    assert_eq!(put(&s3, "a", "eight"), "200");
}
