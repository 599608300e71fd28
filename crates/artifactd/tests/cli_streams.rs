//! Standard streams that cannot be written: a full disk is a failure, and a reader that has seen enough is none.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod cli_kit;

use std::fs::File;
use std::process::{Command, Output, Stdio};

use cli_kit::{MISSING, Place, SESSION, artifactd};

/// Every command that writes to standard output, on a store that holds the artifact `id`.
fn commands(place: &Place, id: &str) -> Vec<Command> {
    let keys = place.path("keys");
    let command = |args: &[&str]| {
        let mut command = artifactd();
        command.args(args).stdin(Stdio::null());
        command
    };
    let store = |args: &[&str]| {
        let mut command = command(args);
        command.args(["--store", &place.url]).args(SESSION);
        command
    };
    let mut keygen = command(&["keygen"]);
    keygen.arg(place.path(&format!("keys-{:?}", std::time::Instant::now()).replace(' ', "")));
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
        store(&["put", "-"]),
        store(&["put", "-", "--json"]),
        store(&["get", id]),
        store(&["ls"]),
        store(&["ls", "--json"]),
        store(&["stat", id]),
        store(&["stat", id, "--json"]),
    ]
}

fn place() -> (Place, String) {
    let place = Place::new("fs");
    let id = place.put(b"bytes", &[]);
    assert!(artifactd().arg("keygen").arg(place.path("keys")).output().unwrap().status.success());
    (place, id)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_full_disk_under_standard_output_is_a_failure_that_is_told() {
    let (place, id) = place();
    for mut command in commands(&place, &id) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {output:?}");
        assert!(said(&output).contains("standard output cannot be written"), "{command:?}: {output:?}");
        assert!(!said(&output).contains("panicked"), "{command:?}: {output:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (place, id) = place();
    for mut command in commands(&place, &id) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {output:?}");
        assert!(!said(&output).contains("standard output"), "{command:?}: {output:?}");
    }
}

#[test]
fn a_standard_error_that_cannot_be_written_changes_no_outcome() {
    let (place, id) = place();
    let (store, missing) = (place.url.as_str(), MISSING);
    let keys = place.path("keys");
    // Others may read it, so that there is something to say.
    std::fs::set_permissions(keys.join("private.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let pem = keys.join("private.pem");
    for (args, code) in [
        (vec!["put", "-", "--store", store], 0),
        (vec!["get", &id, "--store", store], 0),
        (vec!["ls", "--store", store], 0),
        (vec!["stat", missing, "--store", store], 4),
        (vec!["rm", missing, "--store", store], 4),
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
        for stderr in [Stdio::from(full), Stdio::from(writer)] {
            let status = command.stdout(Stdio::null()).stderr(stderr).status().unwrap();
            assert_eq!(status.code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn every_id_is_removed_and_the_outcome_told_though_nobody_takes_the_answers() {
    for (ids, code_full, code_closed) in [(3, 1, 0), (4, 4, 4)] {
        for full in [true, false] {
            let place = Place::new("fs");
            let mut args: Vec<String> = (0..3_u8).map(|byte| place.put(&[byte], &[])).collect();
            args.resize(ids, MISSING.to_owned());
            let mut command = artifactd();
            command.arg("rm").arg("--json").args(&args).args(["--store", &place.url]).args(SESSION);
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
            assert_eq!(place.within("ls", &["--json"]).expect(0).text(), "", "they are still there");
        }
    }
}

/// Lints refuse them as well, where nobody allows them.
#[test]
fn no_source_of_the_program_uses_a_macro_that_panics_where_a_stream_is_broken() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            read += 1;
            for name in ["println!(", "print!(", "dbg!("] {
                assert!(!text.contains(name), "{} has {name}", path.display());
            }
        }
    }
    assert!(read > 50);
}
