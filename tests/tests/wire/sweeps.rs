//! Running servers and the command `sweep` delete what a killed server left on a shared storage.

use std::process::Command;
use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Connection, Flavour, Server, ServerOptions, artifactd_path, flavours, put};
use serde_json::{Value, json};

use crate::ada;
use crate::upload::wait_until_no_residue;

/// More than two parts of an upload to S3, which are 8 MiB each.
const SENT_BYTES: usize = 20 << 20;

/// The flavours whose storage is shared and lists the staged uploads. s3s-fs does not list them, nor does the client of
/// gcs and azure.
fn flavours_to_sweep() -> impl Iterator<Item = Flavour> {
    let lists_uploads = |flavour: &Flavour| {
        flavour.has_server() && !matches!(flavour, Flavour::S3sFs | Flavour::FakeGcs | Flavour::AzureStandIn)
    };
    flavours().into_iter().filter(lists_uploads)
}

/// Two servers on a storage with orphans. The orphans are uploads to a third server that was killed. PostgreSQL rolls
/// those back at once, so there they are interrupted deletions.
fn servers_with_orphans(flavour: Flavour, options: &ServerOptions) -> [Server; 2] {
    let one = Server::start(flavour, options);
    let other = one.start_replica();
    if flavour == Flavour::Postgres {
        for number in 0..3 {
            // The row of a record holds up to 1 MiB of bytes, which are deleted with it.
            one.store_id(&ada(), &corpus::bytes(number, (1 << 20) + 1));
        }
        one.backend().unwrap().delete_records();
        return [one, other];
    }
    // It does not sweep: killed during a sweep, it would block the sweeps of the others for a while.
    let mut killed = one.start_replica_with(&[("artifacts.sweep_interval", json!("0s"))]);
    let uploads: Vec<Connection> = (0..3)
        .map(|number| {
            let bytes = corpus::bytes(number, SENT_BYTES + 1);
            let mut connection = Connection::open(killed.addr());
            connection.send(&put("", bytes.clone()).identity(&ada()).head(None));
            connection.send(&bytes[..SENT_BYTES]);
            connection
        })
        .collect();
    let begun = Instant::now();
    while orphans(&one).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(15), "the uploads have stored nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.kill();
    drop(uploads);
    [one, other]
}

fn options(sweep_interval: &str) -> ServerOptions {
    ServerOptions::new()
        .set("protocol.max_request_bytes", "64MiB")
        .set("artifacts.sweep_interval", sweep_interval)
}

/// What the storage holds that belongs to no artifact. The lock of a running sweep is not an orphan.
fn orphans(server: &Server) -> Vec<String> {
    let mut found = server.residue();
    found.retain(|line| line != "the object SWEEP");
    found
}

/// How many orphans a server has deleted according to its log.
fn removed_count(server: &Server) -> u64 {
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("the store was swept"));
    lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()?["removed"].as_u64()).sum()
}

/// The command `sweep` on the store of a server.
fn sweep_command(server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new(artifactd_path());
    command.args(["sweep", "--json"]).args(args).env("ARTIFACTD_STORE", server.url());
    command
}

fn parse_output(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn two_servers_that_sweep_remove_what_a_third_left_without_a_restart() {
    for flavour in flavours_to_sweep() {
        println!("on {flavour}");
        let mut options = options("300ms");
        if flavour.driver() == "s3" {
            // On S3 an upload is abandoned when it reaches this age.
            options = options.set("artifacts.options", json!({"upload_ttl": "1s"}));
        }
        let [one, other] = servers_with_orphans(flavour, &options);
        // An artifact that is stored while sweeps run is kept.
        let kept = one.store_id(&ada(), b"kept");
        let begun = Instant::now();
        while !orphans(&one).is_empty() {
            assert!(begun.elapsed() < Duration::from_mins(1), "orphans are left: {:?}", orphans(&one));
            std::thread::sleep(Duration::from_millis(50));
        }
        // The log line comes after the last deletion.
        while removed_count(&one) + removed_count(&other) == 0 {
            assert!(begun.elapsed() < Duration::from_mins(1), "no server logs that it deleted anything");
            std::thread::sleep(Duration::from_millis(50));
        }
        other.download(&ada(), &kept).expect_bytes(b"kept");
    }
}

#[test]
fn sweeps_at_once_remove_each_leftover_once() {
    for flavour in flavours_to_sweep() {
        println!("on {flavour}");
        let [one, _other] = servers_with_orphans(flavour, &options("0s"));
        let kept = one.store_id(&ada(), b"kept");
        let begun = Instant::now();
        // A storage needs some time to notice that a client is dead.
        let counted = loop {
            let counted = parse_output(&sweep_command(&one, &["--dry-run"]).output().unwrap());
            if counted["spared"] == 0 && counted["leftovers"].as_u64() > Some(0) {
                break counted["leftovers"].as_u64().unwrap();
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{counted}");
            std::thread::sleep(Duration::from_millis(50));
        };
        let sweeps: Vec<_> = (0..4)
            .map(|_| sweep_command(&one, &[]).stdout(std::process::Stdio::piped()).spawn().unwrap())
            .collect();
        let answers: Vec<Value> =
            sweeps.into_iter().map(|sweep| parse_output(&sweep.wait_with_output().unwrap())).collect();
        let swept: u64 = answers.iter().map(|answer| answer["leftovers"].as_u64().unwrap()).sum();
        assert_eq!(swept, counted, "{answers:?}");
        wait_until_no_residue(&one);
        one.download(&ada(), &kept).expect_bytes(b"kept");
    }
}
