//! Servers as containers: nothing is left of them, a killed one starts again at its address, and what is missing is named in time.
//!
//! Those that need Docker run with `ARTIFACT_STORE_TEST_BACKENDS=docker` or `env,docker`, and print `NOT RUN` otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use artifact_store_backends::{LaunchMethod, Postgres, S3, S3Kind};

/// Whether Docker is forced. If not, prints that the test `name` does not run, past the test harness, which shows no output of a test that passes.
fn docker_is_forced(name: &str) -> bool {
    let is_forced = std::env::var("ARTIFACT_STORE_TEST_BACKENDS")
        .is_ok_and(|value| ["docker", "env,docker"].contains(&value.as_str()));
    if !is_forced {
        let text = format!("\nNOT RUN: {name}: it needs Docker and ARTIFACT_STORE_TEST_BACKENDS=docker\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    is_forced
}

fn backends_up(service: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backends"));
    command.args(["up", service, "--via", "docker"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Runs `backends up postgres --via docker` in an environment where it must fail. Returns its message, and how long it took.
fn run_to_failure(variable: &str, value: &str) -> (String, Duration) {
    let started = Instant::now();
    let mut command = backends_up("postgres");
    let mut program = command.env(variable, value).stderr(Stdio::piped()).spawn().unwrap();
    // Its end would end the program.
    let _stdin = program.stdin.take();
    let Output { status, stderr, .. } = program.wait_with_output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert!(!status.success(), "{text}");
    (text, started.elapsed())
}

/// The containers, networks and volumes of the compose projects of a process.
fn objects_of(process: u32) -> String {
    let mut found = String::new();
    for words in [&["ps", "-a"][..], &["network", "ls"], &["volume", "ls"]] {
        let name = format!("name=artifact-store-test-{process}-");
        let output = Command::new("docker").args(words).args(["-q", "--filter", &name]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        found.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    found
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nothing_is_left_of_a_container_after_sigkill() {
    if !docker_is_forced("nothing_is_left_of_a_container_after_sigkill") {
        return;
    }
    let mut program = backends_up("garage").spawn().unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.take_while(|line| line != "ready").count(), 1);
    assert!(objects_of(program.id()).lines().count() >= 3, "a container, a network, a volume");
    program.kill().unwrap();
    program.wait().unwrap();
    wait_until("nothing is left", || objects_of(program.id()).is_empty());
}

#[test]
fn nothing_is_left_of_a_container_if_sigkill_comes_while_it_starts() {
    if !docker_is_forced("nothing_is_left_of_a_container_if_sigkill_comes_while_it_starts") {
        return;
    }
    let mut program = backends_up("garage").spawn().unwrap();
    wait_until("the start is in progress", || !objects_of(program.id()).is_empty());
    program.kill().unwrap();
    program.wait().unwrap();
    wait_until("nothing is left", || objects_of(program.id()).is_empty());
    // Nothing that still ran has made something new.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(objects_of(program.id()), "");
}

#[tokio::test]
async fn a_killed_container_starts_again_at_its_address() {
    if !docker_is_forced("a_killed_container_starts_again_at_its_address") {
        return;
    }
    let postgres = Postgres::launch(Some(LaunchMethod::Docker)).await.unwrap();
    TcpStream::connect(postgres.address()).unwrap();
    postgres.kill().await.unwrap();
    TcpStream::connect(postgres.address()).unwrap_err();
    postgres.start().await.unwrap();
    TcpStream::connect(postgres.address()).unwrap();
    postgres.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_dropped_container_is_deleted() {
    if !docker_is_forced("a_dropped_container_is_deleted") {
        return;
    }
    let garage = S3::launch(S3Kind::Garage, Some(LaunchMethod::Docker)).await.unwrap();
    let address = garage.address();
    drop(garage);
    wait_until("it does not listen", || TcpStream::connect(address).is_err());
}

#[test]
fn a_registry_that_never_answers_is_an_error_within_20_seconds() {
    if !docker_is_forced("a_registry_that_never_answers_is_an_error_within_20_seconds") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/x:1", listener.local_addr().unwrap());
    let (text, time) = run_to_failure("POSTGRES_IMAGE", &image);
    assert!(text.contains(&image) && text.contains("build it with tests/images/build"), "{text}");
    assert!(time < Duration::from_secs(20), "{time:?}");
}

#[test]
fn an_engine_that_is_not_there_is_an_error_within_10_seconds() {
    let (text, time) = run_to_failure("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    assert!(text.contains("Docker engine"), "{text}");
    assert!(time < Duration::from_secs(10), "{time:?}");
}
