//! The environment decides where servers come from, and errors name what is missing.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::process::Command;

use artifact_store_backends::{AzureStandIn, Conditions, FakeGcs, LaunchMethod, Postgres, Proxy, S3, S3Kind};

/// Runs one test of this file in a separate process, whose only settings for servers are in `environment`.
async fn run(test: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    for variable in [
        "POSTGRES_URL",
        "GARAGE_URL",
        "S3S_FS_URL",
        "MOTO_URL",
        "FAKE_GCS_URL",
        "AZURE_STAND_IN_URL",
        "BACKENDS",
        "GARAGE_BIN",
        "POSTGRES_BIN",
        "MOTO_BIN",
        "FAKE_GCS_BIN",
    ] {
        command.env_remove(format!("ARTIFACT_STORE_TEST_{variable}"));
    }
    command.envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let written = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(written.contains("running 1 test"), "{written}");
    if output.status.success() { Ok(()) } else { Err(written) }
}

#[tokio::test]
async fn postgres_comes_up() {
    Postgres::shared().await.unwrap();
}

#[tokio::test]
async fn garage_comes_up() {
    let garage = S3::shared(S3Kind::Garage).await.unwrap();
    assert_eq!(garage.kind(), S3Kind::Garage);
}

#[tokio::test]
async fn a_dedicated_garage_comes_up() {
    S3::dedicated(S3Kind::Garage).await.unwrap();
}

#[tokio::test]
async fn moto_comes_up() {
    assert_eq!(S3::shared(S3Kind::Moto).await.unwrap().kind(), S3Kind::Moto);
}

#[tokio::test]
async fn fake_gcs_comes_up() {
    FakeGcs::shared(Conditions::Honoured).await.unwrap().create_bucket().await.unwrap();
}

#[tokio::test]
async fn the_azure_stand_in_comes_up() {
    AzureStandIn::shared().await.unwrap().create_container().await.unwrap();
}

#[tokio::test]
async fn a_fake_gcs_and_a_stand_in_at_an_address_in_the_environment_are_used() {
    let gcs = FakeGcs::dedicated(Conditions::Honoured).await.unwrap();
    let environment =
        [("ARTIFACT_STORE_TEST_FAKE_GCS_URL", gcs.url()), ("ARTIFACT_STORE_TEST_BACKENDS", "env".to_owned())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    run("fake_gcs_comes_up", &environment).await.unwrap();
    let azure = AzureStandIn::dedicated().await.unwrap();
    let environment = [
        ("ARTIFACT_STORE_TEST_AZURE_STAND_IN_URL", azure.url()),
        ("ARTIFACT_STORE_TEST_BACKENDS", "env".to_owned()),
    ];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    run("the_azure_stand_in_comes_up", &environment).await.unwrap();
    gcs.kill().await.unwrap();
    let url = gcs.url();
    let text = run("fake_gcs_comes_up", &[("ARTIFACT_STORE_TEST_FAKE_GCS_URL", &url)]).await.unwrap_err();
    assert!(text.contains("ARTIFACT_STORE_TEST_FAKE_GCS_URL"), "{text}");
}

#[tokio::test]
async fn an_address_in_the_environment_is_used() {
    let postgres = Postgres::launch(Some(LaunchMethod::Local)).await.unwrap();
    let proxy = Proxy::start(postgres.address()).await.unwrap();
    let url = postgres.url().replace(&postgres.address().to_string(), &proxy.address().to_string());
    for (connections, sources) in (1..).zip(["env", "env,local", "env,docker"]) {
        let environment =
            [("ARTIFACT_STORE_TEST_POSTGRES_URL", url.as_str()), ("ARTIFACT_STORE_TEST_BACKENDS", sources)];
        run("postgres_comes_up", &environment).await.unwrap();
        assert_eq!(proxy.connections(), connections, "{sources}");
    }
}

#[tokio::test]
async fn a_server_that_has_no_address_comes_from_the_source_that_is_forced_for_it() {
    let no_docker = ("DOCKER_HOST", "tcp://127.0.0.1:1");
    let url = ("ARTIFACT_STORE_TEST_GARAGE_URL", "http://key:secret@127.0.0.1:1/bucket");
    for (test, url) in [("garage_comes_up", None), ("a_dedicated_garage_comes_up", Some(url))] {
        let environment = |sources| {
            let mut environment = vec![no_docker, ("ARTIFACT_STORE_TEST_BACKENDS", sources)];
            environment.extend(url);
            environment
        };
        run(test, &environment("env,local")).await.unwrap();
        let text = run(test, &environment("env,docker")).await.unwrap_err();
        assert!(text.contains("the Docker engine does not respond"), "{text}");
    }
}

#[tokio::test]
async fn an_unknown_source_is_refused() {
    let text = run("garage_comes_up", &[("ARTIFACT_STORE_TEST_BACKENDS", "docker,env")]).await.unwrap_err();
    assert!(text.contains("must be env, docker, local, env,docker or env,local"), "{text}");
}

#[tokio::test]
async fn a_forced_local_server_does_not_use_the_address_in_the_environment() {
    let url = ("ARTIFACT_STORE_TEST_POSTGRES_URL", "postgres://nobody:x@127.0.0.1:1/nothing");
    run("postgres_comes_up", &[url, ("ARTIFACT_STORE_TEST_BACKENDS", "local")]).await.unwrap();
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_an_error_that_names_its_variable_and_no_password() {
    let url = ("ARTIFACT_STORE_TEST_POSTGRES_URL", "postgres://nobody:hidden@127.0.0.1:1/nothing");
    let text = run("postgres_comes_up", &[url]).await.unwrap_err();
    assert!(text.contains("ARTIFACT_STORE_TEST_POSTGRES_URL") && !text.contains("hidden"), "{text}");
}

#[tokio::test]
async fn a_forced_address_that_is_not_there_is_named() {
    let text = run("garage_comes_up", &[("ARTIFACT_STORE_TEST_BACKENDS", "env")]).await.unwrap_err();
    assert!(text.contains("ARTIFACT_STORE_TEST_GARAGE_URL is not set"), "{text}");
}

#[tokio::test]
async fn a_missing_program_is_named_with_the_way_to_install_it() {
    let environment = [
        ("ARTIFACT_STORE_TEST_BACKENDS", "local"),
        ("ARTIFACT_STORE_TOOLS", "/nowhere"),
        ("PATH", "/nowhere"),
    ];
    for test in ["garage_comes_up", "moto_comes_up", "fake_gcs_comes_up"] {
        let text = run(test, &environment).await.unwrap_err();
        assert!(text.contains("tests/images/build --only tools"), "{text}");
    }
}
