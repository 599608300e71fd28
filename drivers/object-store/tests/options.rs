//! The options of the drivers gcs and azure: which values are legal, and what the errors say. No request is sent.

#![cfg(all(feature = "azure", feature = "gcs"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // If a helper panics, its test fails.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use artifact_store_core::{Driver, ErrorKind, Flag, Options, StoreError, SystemClock};
use artifact_store_object_store::{AzureConfig, AzureDriver, AzurePresign, GcsConfig, GcsDriver};
use serde_json::{Value, json};

/// The options in `given`, a JSON object, of the driver.
fn parse(driver: &dyn Driver, given: &Value) -> Result<Options, StoreError> {
    let info = driver.info();
    let given = given.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone()));
    Options::parse(info.name, info.options, given)
}

fn gcs(given: &Value) -> Result<GcsConfig, StoreError> {
    GcsConfig::from_options(&parse(&GcsDriver, given)?, Arc::new(SystemClock))
}

fn azure(given: &Value) -> Result<AzureConfig, StoreError> {
    AzureConfig::from_options(&parse(&AzureDriver, given)?, Arc::new(SystemClock))
}

/// The smallest options with `more`, a JSON object, added.
fn gcs_with(more: &Value) -> Value {
    merge(json!({"bucket": "artifacts"}), more)
}

fn azure_with(more: &Value) -> Value {
    merge(json!({"account": "account", "container": "artifacts"}), more)
}

fn merge(mut options: Value, more: &Value) -> Value {
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    options
}

/// The options that both drivers have: each row is legal.
fn good_common_options() -> Vec<Value> {
    vec![
        json!({}),
        json!({"prefix": ""}),
        json!({"prefix": "team/artifacts_2/"}),
        json!({"conditional_create": "probe"}),
        json!({"conditional_create": "yes"}),
        json!({"conditional_create": "no"}),
        json!({"part_size": "5MiB"}),
        json!({"part_size": "64MiB"}),
        json!({"part_concurrency": 16}),
        json!({"list_concurrency": "256"}),
        json!({"max_scan": 1}),
        json!({"connect_timeout": "1h"}),
        json!({"request_timeout": "250ms"}),
        json!({"max_attempts": 20}),
        json!({"retry_timeout": "4m"}),
        json!({"upload_ttl": "1d"}),
        json!({"max_artifact_bytes": "1GiB"}),
        json!({"allow_http": true}),
        json!({"presign": "no"}),
    ]
}

/// The options that both drivers have: each row is refused with the text.
fn bad_common_options() -> Vec<(Value, &'static str)> {
    let retry = "the option 'retry_timeout' must be more than 0s and at most 4m";
    vec![
        (json!({"prefix": "a//b"}), "the option 'prefix' takes letters, digits"),
        (json!({"prefix": "a/../b"}), "the option 'prefix' takes letters, digits"),
        (json!({"prefix": "x".repeat(257)}), "the option 'prefix' takes at most 256 bytes"),
        (json!({"conditional_create": "put"}), "it takes one of probe, yes, no"),
        (json!({"part_size": "4MiB"}), "the option 'part_size' must be 5242880 to 67108864, not 4194304"),
        (json!({"part_concurrency": 0}), "the option 'part_concurrency' must be 1 to 16, not 0"),
        (json!({"list_concurrency": 257}), "the option 'list_concurrency' must be 1 to 256, not 257"),
        (json!({"max_scan": 0}), "the option 'max_scan' must be 1 or more, not 0"),
        (json!({"max_attempts": 21}), "the option 'max_attempts' must be 1 to 20, not 21"),
        (
            json!({"connect_timeout": "2h"}),
            "the option 'connect_timeout' must be more than 0s and at most 1h",
        ),
        (
            json!({"request_timeout": "0s"}),
            "the option 'request_timeout' must be more than 0s and at most 1h",
        ),
        (json!({"retry_timeout": "0s"}), retry),
        (json!({"retry_timeout": "5m"}), retry),
        (json!({"endpoint": "127.0.0.1:1"}), "the option 'endpoint' is not an http or https URL"),
        (json!({"endpoint": "https://hunter2:x@host"}), "contains a user name or password"),
        (json!({"endpoint": "https://host/other"}), "has a path, a query or a fragment that is not allowed"),
        (json!({"endpoint": "https://host:x"}), "has no valid host and port"),
        (json!({"endpoint": "http://10.0.0.1:1"}), "is plain http to another machine"),
        (json!({"presign": "yes"}), "the option 'presign' is not legal"),
        (json!({"regoin": "x"}), "has no option 'regoin'"),
    ]
}

/// Fails if a row is refused, or shows the secret `hunter2`.
fn assert_legal<T: std::fmt::Debug>(given: &Value, result: Result<T, StoreError>) {
    let config = result.unwrap_or_else(|error| panic!("{given}: {error}"));
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
}

fn assert_refused<T: std::fmt::Debug>(given: &Value, result: Result<T, StoreError>, expected: &str) {
    let error = result.expect_err(&given.to_string());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{given}");
    let message = error.to_string();
    assert!(message.contains(expected) && !message.contains("hunter2"), "{given}: {message}");
}

#[test]
fn every_legal_value_of_gcs_is_accepted() {
    let own = [
        json!({"bucket": "a-b_c.example.com"}),
        json!({"endpoint": "http://127.0.0.1:4443"}),
        json!({"endpoint": "http://10.0.0.1:4443", "allow_http": true}),
        json!({"credentials_file": "/run/secrets/key.json"}),
        json!({"service_account_key": "hunter2"}),
        json!({"anonymous": true}),
        json!({"presign": "key"}),
        json!({"presign": "iam"}),
        json!({"presign": "iam", "endpoint": "https://storage.googleapis.com/"}),
    ];
    for more in good_common_options().iter().chain(&own) {
        assert_legal(more, gcs(&gcs_with(more)));
    }
}

#[test]
fn every_illegal_value_of_gcs_is_refused_with_what_is_legal() {
    let own = [
        (json!({"bucket": "Artifacts"}), "the option 'bucket' is not a bucket name"),
        (json!({"bucket": "a/b"}), "the option 'bucket' is not a bucket name"),
        (json!({"bucket": "-ab"}), "the option 'bucket' is not a bucket name"),
        (
            json!({"credentials_file": "/x", "service_account_key": "hunter2"}),
            "is one of several credentials",
        ),
        (json!({"service_account_key": "hunter2", "anonymous": true}), "is one of several credentials"),
        (json!({"presign": "iam", "anonymous": true}), "which needs credentials"),
        (json!({"presign": "iam", "endpoint": "http://127.0.0.1:1"}), "Google's own address alone"),
    ];
    for (more, expected) in bad_common_options().iter().chain(&own) {
        assert_refused(more, gcs(&gcs_with(more)), expected);
    }
    assert_refused(&json!({}), gcs(&json!({})), "the option 'bucket' is missing; the driver gcs needs it");
}

#[test]
fn every_legal_value_of_azure_is_accepted() {
    let own = [
        json!({"account": "devstoreaccount1", "endpoint": "http://127.0.0.1:10000/devstoreaccount1"}),
        json!({"endpoint": "https://account.blob.core.usgovcloudapi.net/"}),
        json!({"endpoint": "http://10.0.0.1:10000/account", "allow_http": true}),
        json!({"access_key": "hunter2"}),
        json!({"access_key_file": "/run/secrets/key"}),
        json!({"sas_token": "sv=1&sig=hunter2"}),
        json!({"client_secret": "hunter2", "tenant_id": "t", "client_id": "c"}),
        json!({"federated_token_file": "/token", "tenant_id": "t", "client_id": "c"}),
        json!({"client_id": "c"}),
        json!({"authority_host": "https://login.microsoftonline.us/"}),
        json!({"presign": "key"}),
        json!({"presign": "delegation"}),
        json!({"presign": "delegation", "client_secret": "hunter2", "tenant_id": "t", "client_id": "c"}),
    ];
    for more in good_common_options().iter().chain(&own) {
        assert_legal(more, azure(&azure_with(more)));
    }
}

#[test]
fn every_illegal_value_of_azure_is_refused_with_what_is_legal() {
    let own = [
        (json!({"account": "my-account"}), "the option 'account' is not the name of a storage account"),
        (json!({"account": "a/b"}), "the option 'account' is not the name of a storage account"),
        (json!({"container": "$root"}), "the option 'container' is not a container name"),
        (json!({"container": "a--b"}), "the option 'container' is not a container name"),
        (json!({"endpoint": "http://127.0.0.1:10000/account/artifacts"}), "that is not allowed"),
        (json!({"authority_host": "login.microsoftonline.us"}), "the option 'authority_host' is not an http"),
        (json!({"access_key": "hunter2", "sas_token": "hunter2"}), "is one of several credentials"),
        (json!({"access_key": "hunter2", "access_key_file": "/x"}), "is one of several credentials"),
        (json!({"client_secret": "hunter2"}), "needs the tenant and the client of its application"),
        (json!({"federated_token_file": "/x", "client_id": "c"}), "needs the tenant and the client"),
        (json!({"presign": "delegation", "access_key": "hunter2"}), "needs an application or an identity"),
        (json!({"presign": "delegation", "sas_token": "hunter2"}), "needs an application or an identity"),
    ];
    for (more, expected) in bad_common_options().iter().chain(&own) {
        assert_refused(more, azure(&azure_with(more)), expected);
    }
    for (given, option) in
        [(json!({"container": "artifacts"}), "account"), (json!({"account": "account"}), "container")]
    {
        assert_refused(&given, azure(&given), &format!("the option '{option}' is missing"));
    }
}

#[test]
fn a_builder_presigns_with_a_key_in_gcs_and_in_azure_only_if_it_is_chosen() {
    let gcs = GcsConfig::bucket("artifacts");
    let azure = AzureConfig::container("account", "artifacts");
    assert!(gcs.service_account_key(service_account()).capabilities().has(Flag::PresignGet));
    let azure = azure.access_key("aGk=");
    assert!(!azure.capabilities().has(Flag::PresignGet));
    assert!(azure.presign(AzurePresign::Key).capabilities().has(Flag::PresignGet));
}

#[test]
fn both_drivers_have_the_common_options_and_a_url_of_their_clouds_tools() {
    for driver in [&GcsDriver as &dyn Driver, &AzureDriver] {
        let info = driver.info();
        let names: Vec<_> = info.options.iter().map(|spec| spec.name).collect();
        for name in ["prefix", "endpoint", "presign", "part_size", "max_artifact_bytes"] {
            assert!(names.contains(&name), "{} lacks {name}", info.name);
        }
    }
    assert_eq!(GcsDriver.info().url.pattern("gcs"), "gs://bucket/prefix");
    assert_eq!(AzureDriver.info().url.pattern("azure"), "az://container/prefix");
}

/// The key of a service account in the test vectors.
fn service_account() -> String {
    let file: Value = serde_json::from_str(include_str!("data/gcs_v4_signatures.json")).unwrap();
    file["account"].to_string()
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn presigning_is_advertised_only_if_the_credentials_can_sign() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = write(folder.path(), "key.json", &service_account());
    let user = r#"{"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}"#;
    let user_file = write(folder.path(), "user.json", user);
    for (more, expected) in [
        (json!({"service_account_key": service_account()}), true),
        (json!({"service_account_key": service_account(), "presign": "no"}), false),
        (json!({"credentials_file": key_file}), true),
        (json!({"credentials_file": user_file}), false),
        (json!({"credentials_file": user_file, "presign": "iam"}), true),
        (json!({"anonymous": true}), false),
    ] {
        let capabilities = GcsDriver.capabilities(&parse(&GcsDriver, &gcs_with(&more)).unwrap());
        assert_eq!(capabilities.has(Flag::PresignGet), expected, "{more}");
        assert_eq!(capabilities.presign_expiry_limit().is_zero(), !expected, "{more}");
        assert!(capabilities.has(Flag::Shared) && capabilities.has(Flag::Durable));
        assert!(!capabilities.has(Flag::PresignPut));
    }
    for (more, expected) in [
        (json!({}), false),
        (json!({"access_key": "aGk="}), false),
        (json!({"access_key": "aGk=", "presign": "key"}), true),
        (json!({"sas_token": "sv=1&sig=2", "presign": "key"}), false),
        (json!({"client_id": "c"}), false),
        (json!({"client_id": "c", "presign": "delegation"}), true),
    ] {
        let capabilities = AzureDriver.capabilities(&parse(&AzureDriver, &azure_with(&more)).unwrap());
        assert_eq!(capabilities.has(Flag::PresignGet), expected, "{more}");
        assert!(capabilities.has(Flag::Shared) && capabilities.has(Flag::Durable));
        assert!(!capabilities.has(Flag::PresignPut));
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_used_are_refused_before_any_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| write(folder.path(), name, content);
    let external = file("external.json", r#"{"type": "external_account", "audience": "hunter2"}"#);
    let user =
        r#"{"type": "authorized_user", "client_id": "a", "client_secret": "hunter2", "refresh_token": "c"}"#;
    let user = file("user.json", user);
    let rows: [(&dyn Driver, Value, &str); 11] = [
        (
            &GcsDriver,
            gcs_with(&json!({"service_account_key": "hunter2"})),
            "'service_account_key' is not JSON",
        ),
        (&GcsDriver, gcs_with(&json!({"service_account_key": "{}"})), "lacks client_email"),
        (&GcsDriver, gcs_with(&json!({"credentials_file": "/missing"})), "'credentials_file' cannot be read"),
        (&GcsDriver, gcs_with(&json!({"credentials_file": file("text", "hunter2")})), "is not JSON"),
        (&GcsDriver, gcs_with(&json!({"credentials_file": external})), "it takes the types service_account"),
        (
            &AzureDriver,
            azure_with(&json!({"access_key": "hunter2!"})),
            "is not an access key, which is base64",
        ),
        (
            &AzureDriver,
            azure_with(&json!({"access_key_file": "/missing"})),
            "'access_key_file' cannot be read",
        ),
        (&AzureDriver, azure_with(&json!({"access_key_file": file("empty", " \n")})), "is not an access key"),
        (
            &AzureDriver,
            // A valid key in front must not be used without the rest.
            azure_with(&json!({"access_key_file": file("long", &format!("{}x", "aGk=".repeat(1024)))})),
            "'access_key_file' has more than 4096 bytes",
        ),
        (
            &GcsDriver,
            gcs_with(&json!({"credentials_file": file("long.json", &" ".repeat(65_537))})),
            "'credentials_file' has more than 65536 bytes",
        ),
        (
            &GcsDriver,
            gcs_with(&json!({"credentials_file": user, "presign": "iam"})),
            "the option 'presign' is iam, which needs a service account",
        ),
    ];
    for (driver, given, expected) in rows {
        let options = parse(driver, &given).unwrap();
        assert_refused(&given, driver.open(&options, Arc::new(SystemClock)).await.map(|_| ()), expected);
    }
}

/// The variables of the default chain, which a test cannot set in its own process.
const CHILD: &str = "ARTIFACT_STORE_TEST_EXPECTS_PRESIGN";

#[test]
fn the_default_chain_of_gcs_reads_the_variable_and_then_the_file_of_gcloud() {
    if let Ok(expected) = std::env::var(CHILD) {
        let capabilities = GcsDriver.capabilities(&parse(&GcsDriver, &gcs_with(&json!({}))).unwrap());
        assert_eq!(capabilities.has(Flag::PresignGet).to_string(), expected);
        return;
    }
    let [empty_home, home] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let gcloud = home.path().join(".config/gcloud");
    std::fs::create_dir_all(&gcloud).unwrap();
    write(&gcloud, "application_default_credentials.json", &service_account());
    let key_file = write(home.path(), "key.json", &service_account());
    for (variable, home, expected) in [
        ("", empty_home.path(), false),
        (key_file.as_str(), empty_home.path(), true),
        ("", home.path(), true),
        // The variable wins, even if its file cannot be used.
        ("/missing", home.path(), false),
    ] {
        let name = "the_default_chain_of_gcs_reads_the_variable_and_then_the_file_of_gcloud";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env("GOOGLE_APPLICATION_CREDENTIALS", variable)
            .env("HOME", home)
            .env(CHILD, expected.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{variable}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
