//! The files that commands write, replace and leave after a failure or a signal.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use crate::support::{MISSING, SESSION, TestStore, artifactd, pseudorandom_bytes};

/// Alters the last byte of an artifact of `length` bytes in an fs store.
fn alter(store: &TestStore, id: &str, length: usize) {
    let stored = store.stored_file(id);
    let mut bytes = fs::read(&stored).unwrap();
    bytes[length - 1] ^= 1;
    fs::write(&stored, bytes).unwrap();
}

#[test]
fn a_file_is_written_completely_and_no_other_file_is_left() {
    for store in TestStore::of_each_driver() {
        let bytes = pseudorandom_bytes(3_000_000);
        let id = store.put(&bytes, &[]);
        let file = store.path("out.bin");
        let get = store.run_in_session("get", &[&id, "-o", file.to_str().unwrap()]);
        assert_eq!(get.expect(0).text(), "");
        assert!(fs::read(&file).unwrap() == bytes);
        assert_eq!(store.other_files(), ["out.bin"]);
    }
}

#[test]
fn a_file_is_replaced_only_with_force() {
    let store = TestStore::new("fs");
    let id = store.put(b"new", &[]);
    let file = store.file("out", "old");
    store
        .run_in_session("get", &[&id, "-o", &file])
        .expect(1)
        .expect_message("exists; give --force to replace it");
    assert_eq!(fs::read(&file).unwrap(), b"old");
    store.run_in_session("get", &[&id, "-o", &file, "--force"]).expect(0);
    assert_eq!(fs::read(&file).unwrap(), b"new");
}

#[test]
fn a_directory_is_not_replaced_even_by_force() {
    let store = TestStore::new("fs");
    let id = store.put(b"x", &[]);
    let dir = store.path("directory");
    fs::create_dir(&dir).unwrap();
    store
        .run_in_session("get", &[&id, "-o", dir.to_str().unwrap(), "--force"])
        .expect(2)
        .expect_message("is a directory");
}

#[cfg(unix)]
#[test]
fn force_replaces_the_target_of_a_link_and_not_the_link() {
    let store = TestStore::new("fs");
    let id = store.put(b"new", &[]);
    let file = store.file("file", "old");
    let link = store.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    store.run_in_session("get", &[&id, "-o", link.to_str().unwrap(), "--force"]).expect(0);
    assert!(link.is_symlink());
    assert_eq!(fs::read(&file).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn a_device_is_written_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt;

    let store = TestStore::new("fs");
    let id = store.put(b"x", &[]);
    store.run_in_session("get", &[&id, "-o", "/dev/null", "--force"]).expect(0);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[cfg(unix)]
#[test]
fn an_output_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;

    let store = TestStore::new("fs");
    let id = store.put(b"x", &[]);
    let (output, other) = (store.path("output"), store.file("other", "x"));
    store.run_in_session("get", &[&id, "-o", output.to_str().unwrap()]).expect(0);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&output), mode(other.as_ref()));
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;

    let store = TestStore::new("fs");
    let id = store.put(b"new", &[]);
    for mode in [0o600, 0o640, 0o444, 0o755] {
        let file = store.file("file", "old");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        store.run_in_session("get", &[&id, "-o", &file, "--force"]).expect(0);
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, mode);
        fs::remove_file(&file).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_owner_if_that_is_permitted() {
    use std::os::unix::fs::{MetadataExt, chown};

    let store = TestStore::new("fs");
    let id = store.put(b"new", &[]);
    let file = store.file("file", "old");
    // Only the superuser can change the owner. For other users, the owner is the same before and after.
    let owner_was_changed = chown(&file, Some(65_534), Some(65_534)).is_ok();
    let before = fs::metadata(&file).unwrap();
    store.run_in_session("get", &[&id, "-o", &file, "--force"]).expect(0);
    let after = fs::metadata(&file).unwrap();
    assert_eq!(
        (after.uid(), after.gid()),
        (before.uid(), before.gid()),
        "owner was changed: {owner_was_changed}"
    );
}

#[test]
fn altered_bytes_fail_and_leave_no_file() {
    for length in [1, 3_000_000] {
        let store = TestStore::new("fs");
        let id = store.put(&pseudorandom_bytes(length), &[]);
        alter(&store, &id, length);
        let get = store.run_in_session("get", &[&id, "-o", store.path("out").to_str().unwrap()]);
        get.expect(1)
            .expect_message("nothing was written\n  caused by: fs get default_")
            .expect_message("corrupt");
        assert_eq!(store.other_files(), [""; 0]);
    }
}

#[test]
fn altered_bytes_end_standard_output_early_and_with_exit_code_1() {
    for length in [1, 3_000_000] {
        let store = TestStore::new("fs");
        let id = store.put(&pseudorandom_bytes(length), &[]);
        alter(&store, &id, length);
        let get = store.run_in_session("get", &[&id]);
        get.expect(1).expect_message("standard output does not have all bytes of the artifact");
        assert!(get.bytes().len() < length);
    }
}

#[cfg(unix)]
#[test]
fn altered_bytes_end_a_named_pipe_early_and_the_message_names_it() {
    let store = TestStore::new("fs");
    let id = store.put(&pseudorandom_bytes(3_000_000), &[]);
    alter(&store, &id, 3_000_000);
    let pipe = store.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    let get = store.run_in_session("get", &[&id, "-o", pipe.to_str().unwrap()]);
    get.expect(1).expect_message(&format!("{} does not have all bytes of the artifact", pipe.display()));
    assert!(!get.stderr().contains("nothing was written"), "{get:?}");
    let received = reader.join().unwrap().len();
    assert!(received > 0 && received < 3_000_000, "{received}");
}

#[test]
fn altered_bytes_leave_the_file_that_force_would_have_replaced() {
    let store = TestStore::new("fs");
    let id = store.put(b"right", &[]);
    alter(&store, &id, 5);
    let file = store.file("out", "old");
    store.run_in_session("get", &[&id, "-o", &file, "--force"]).expect(1);
    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert_eq!(store.other_files(), ["out"]);
}

#[test]
fn a_missing_artifact_leaves_no_file() {
    let store = TestStore::new("fs").with_other_tenant();
    store.run_in_session("get", &[MISSING, "-o", store.path("out").to_str().unwrap()]).expect(4);
    assert_eq!(store.other_files(), [""; 0]);
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let store = TestStore::new("fs");
    let id = store.put(&pseudorandom_bytes(8_000_000), &[]);
    let mut command = artifactd();
    command.args(["get", &id, "--store", &store.url]).args(SESSION);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[cfg(unix)]
fn signal(child: &std::process::Child, name: &str) {
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
}

#[cfg(unix)]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed().as_secs() < 60, "the condition is not true after 60 s");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_put_leaves_no_file() {
    use std::io::Write;

    for (name, exit) in [("-INT", 130), ("-TERM", 143)] {
        let store = TestStore::new("fs");
        let mut command = artifactd();
        command.args(["put", "-", "--store", &store.url]).args(SESSION).stdin(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&pseudorandom_bytes(4_000_000)).unwrap();
        let has_temp = || {
            let tmp = store.path("store/tmp");
            tmp.exists() && fs::read_dir(tmp).unwrap().next().is_some()
        };
        wait_until(has_temp);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        drop(stdin);
        assert!(!has_temp());
        assert_eq!(store.run("ls", &["--all-tenants", "--json"]).expect(0).text(), "");
    }
}

#[cfg(unix)]
#[test]
fn a_get_can_be_interrupted_while_its_reader_is_stopped() {
    let store = TestStore::new("fs");
    let id = store.put(&pseudorandom_bytes(8_000_000), &[]);
    let mut command = artifactd();
    command.args(["get", &id, "--store", &store.url]).args(SESSION);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // The pipe is smaller than the artifact, so the command waits until more bytes are read.
    stdout.read_exact(&mut [0]).unwrap();
    signal(&child, "-INT");
    wait_until(|| child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
