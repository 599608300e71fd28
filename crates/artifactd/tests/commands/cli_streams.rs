//! Standard streams that cannot be written: a full disk is a failure, and a closed pipe is not.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use crate::support::{MISSING, SESSION, TestStore, artifactd};

/// Every command that writes to standard output, on a store with the artifact `id`.
fn commands(store: &TestStore, id: &str) -> Vec<Command> {
    let keys = store.path("keys");
    let command = |args: &[&str]| {
        let mut command = artifactd();
        command.args(args).stdin(Stdio::null());
        command
    };
    let store_command = |args: &[&str]| {
        let mut command = command(args);
        command.args(["--store", &store.url]).args(SESSION);
        command
    };
    let mut keygen = command(&["keygen"]);
    keygen.arg(store.path(&format!("keys-{:?}", std::time::Instant::now()).replace(' ', "")));
    let mut token = command(&["token", "--tenant", "a", "--user", "b", "--key"]);
    token.arg(keys.join("private.pem"));
    vec![
        command(&["--help"]),
        command(&["--version"]),
        command(&["ls", "--help"]),
        command(&["drivers"]),
        command(&["completions", "bash"]),
        keygen,
        token,
        store_command(&["put", "-"]),
        store_command(&["put", "-", "--json"]),
        store_command(&["get", id]),
        store_command(&["ls"]),
        store_command(&["ls", "--json"]),
        store_command(&["stat", id]),
        store_command(&["stat", id, "--json"]),
    ]
}

fn store_with_artifact() -> (TestStore, String) {
    let store = TestStore::new("fs");
    let id = store.put(b"bytes", &[]);
    assert!(artifactd().arg("keygen").arg(store.path("keys")).output().unwrap().status.success());
    (store, id)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_full_disk_under_standard_output_is_a_failure_with_a_message() {
    let (store, id) = store_with_artifact();
    for mut command in commands(&store, &id) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {output:?}");
        assert!(stderr(&output).contains("standard output cannot be written"), "{command:?}: {output:?}");
        assert!(!stderr(&output).contains("panicked"), "{command:?}: {output:?}");
    }
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let (store, id) = store_with_artifact();
    for mut command in commands(&store, &id) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {output:?}");
        assert!(!stderr(&output).contains("standard output"), "{command:?}: {output:?}");
    }
}

#[test]
fn a_standard_error_that_cannot_be_written_does_not_change_the_exit_code() {
    let (store, id) = store_with_artifact();
    let (url, missing) = (store.url.as_str(), MISSING);
    let keys = store.path("keys");
    // Other users can read the key, so the command prints a warning.
    std::fs::set_permissions(keys.join("private.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let pem = keys.join("private.pem");
    for (args, code) in [
        (vec!["put", "-", "--store", url], 0),
        (vec!["get", &id, "--store", url], 0),
        (vec!["ls", "--store", url], 0),
        (vec!["stat", missing, "--store", url], 4),
        (vec!["rm", missing, "--store", url], 4),
        (vec!["ls", "--store", "nonsense"], 2),
        (vec!["no-such-command"], 2),
        (vec!["token", "--key", pem.to_str().unwrap()], 0),
    ] {
        let mut command = artifactd();
        command.args(&args).stdin(Stdio::null());
        if args[0] != "no-such-command" {
            command.args(SESSION);
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let full = File::options().write(true).open("/dev/full").unwrap();
        for stream in [Stdio::from(full), Stdio::from(writer)] {
            let status = command.stdout(Stdio::null()).stderr(stream).status().unwrap();
            assert_eq!(status.code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn every_id_is_deleted_and_the_exit_code_is_right_if_standard_output_cannot_be_written() {
    // Three ids exist, and the fourth does not. The exit code of a missing artifact (4) wins over that of a full disk
    // (1).
    for (ids, code_full, code_closed) in [(3, 1, 0), (4, 4, 4)] {
        for full in [true, false] {
            let store = TestStore::new("fs");
            let mut args: Vec<String> = (0..3_u8).map(|byte| store.put(&[byte], &[])).collect();
            args.resize(ids, MISSING.to_owned());
            let mut command = artifactd();
            command.arg("rm").arg("--json").args(&args).args(["--store", &store.url]).args(SESSION);
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let stdout = if full {
                Stdio::from(File::options().write(true).open("/dev/full").unwrap())
            } else {
                Stdio::from(writer)
            };
            let output = command.stdout(stdout).output().unwrap();
            let code = if full { code_full } else { code_closed };
            assert_eq!(output.status.code(), Some(code), "{full}: {output:?}");
            assert_eq!(store.run_in_session("ls", &["--json"]).expect(0).text(), "", "artifacts are left");
        }
    }
}

/// Clippy finds these macros too, but not where the lint is allowed.
#[test]
fn no_source_of_the_program_uses_a_macro_that_panics_if_a_stream_is_broken() {
    let mut dirs = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            files += 1;
            for name in ["println!(", "print!(", "dbg!("] {
                assert!(!text.contains(name), "{} has {name}", path.display());
            }
        }
    }
    assert!(files > 50);
}
