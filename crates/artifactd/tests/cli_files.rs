//! What the operator's verbs leave behind, or rather do not, when something fails, breaks off or stands in the way.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod cli_kit;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use cli_kit::{MISSING, Place, SESSION, artifactd, noise};

/// Alters the last byte of an artifact of `length` bytes in an fs store.
fn alter(place: &Place, id: &str, length: usize) {
    let stored = place.stored_file(id);
    let mut bytes = fs::read(&stored).unwrap();
    bytes[length - 1] ^= 1;
    fs::write(&stored, bytes).unwrap();
}

#[test]
fn a_file_is_written_whole_and_nothing_beside_it() {
    for place in Place::of_each_driver() {
        let bytes = noise(3_000_000);
        let id = place.put(&bytes, &[]);
        let file = place.path("out.bin");
        let get = place.within("get", &[&id, "-o", file.to_str().unwrap()]);
        assert_eq!(get.expect(0).text(), "");
        assert!(fs::read(&file).unwrap() == bytes);
        assert_eq!(place.names(), ["out.bin"]);
    }
}

#[test]
fn a_file_is_replaced_only_by_force() {
    let place = Place::new("fs");
    let id = place.put(b"new", &[]);
    let file = place.file("out", "old");
    place.within("get", &[&id, "-o", &file]).expect(1).says("exists; give --force to replace it");
    assert_eq!(fs::read(&file).unwrap(), b"old");
    place.within("get", &[&id, "-o", &file, "--force"]).expect(0);
    assert_eq!(fs::read(&file).unwrap(), b"new");
}

#[test]
fn a_folder_is_not_replaced_even_by_force() {
    let place = Place::new("fs");
    let id = place.put(b"x", &[]);
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    place.within("get", &[&id, "-o", folder.to_str().unwrap(), "--force"]).expect(2).says("is a folder");
}

#[cfg(unix)]
#[test]
fn force_replaces_what_a_link_points_at_and_not_the_link() {
    let place = Place::new("fs");
    let id = place.put(b"new", &[]);
    let file = place.file("file", "old");
    let link = place.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    place.within("get", &[&id, "-o", link.to_str().unwrap(), "--force"]).expect(0);
    assert!(link.is_symlink());
    assert_eq!(fs::read(&file).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn a_device_is_written_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt;

    let place = Place::new("fs");
    let id = place.put(b"x", &[]);
    place.within("get", &[&id, "-o", "/dev/null", "--force"]).expect(0);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[cfg(unix)]
#[test]
fn a_saved_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new("fs");
    let id = place.put(b"x", &[]);
    let (saved, ordinary) = (place.path("saved"), place.file("ordinary", "x"));
    place.within("get", &[&id, "-o", saved.to_str().unwrap()]).expect(0);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&saved), mode(ordinary.as_ref()));
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new("fs");
    let id = place.put(b"new", &[]);
    for mode in [0o600, 0o640, 0o444, 0o755] {
        let file = place.file("file", "old");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        place.within("get", &[&id, "-o", &file, "--force"]).expect(0);
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, mode);
        fs::remove_file(&file).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_owner_where_that_is_permitted() {
    use std::os::unix::fs::{MetadataExt, chown};

    let place = Place::new("fs");
    let id = place.put(b"new", &[]);
    let file = place.file("file", "old");
    // Only the superuser gives files away; for everybody else the owner is the caller before and after.
    let given = chown(&file, Some(65_534), Some(65_534)).is_ok();
    let before = fs::metadata(&file).unwrap();
    place.within("get", &[&id, "-o", &file, "--force"]).expect(0);
    let after = fs::metadata(&file).unwrap();
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()), "given away: {given}");
}

#[test]
fn altered_bytes_fail_and_leave_no_file() {
    for length in [1, 3_000_000] {
        let place = Place::new("fs");
        let id = place.put(&noise(length), &[]);
        alter(&place, &id, length);
        let get = place.within("get", &[&id, "-o", place.path("out").to_str().unwrap()]);
        get.expect(1).says("nothing was written\n  caused by: fs get default_").says("corrupt");
        assert_eq!(place.names(), [""; 0]);
    }
}

#[test]
fn altered_bytes_end_standard_output_short_and_with_1() {
    for length in [1, 3_000_000] {
        let place = Place::new("fs");
        let id = place.put(&noise(length), &[]);
        alter(&place, &id, length);
        let get = place.within("get", &[&id]);
        get.expect(1).says("the bytes on standard output are not the whole answer");
        assert!(get.bytes().len() < length);
    }
}

#[test]
fn altered_bytes_leave_the_file_that_force_would_have_replaced() {
    let place = Place::new("fs");
    let id = place.put(b"right", &[]);
    alter(&place, &id, 5);
    let file = place.file("out", "old");
    place.within("get", &[&id, "-o", &file, "--force"]).expect(1);
    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert_eq!(place.names(), ["out"]);
}

#[test]
fn a_missing_artifact_leaves_no_file() {
    let place = Place::new("fs").made();
    place.within("get", &[MISSING, "-o", place.path("out").to_str().unwrap()]).expect(4);
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::new("fs");
    let id = place.put(&noise(8_000_000), &[]);
    let mut command = artifactd();
    command.args(["get", &id, "--store", &place.url]).args(SESSION);
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
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !is_so() {
        assert!(started.elapsed().as_secs() < 60, "it does not come to it");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_put_leaves_nothing_behind() {
    use std::io::Write;

    for (name, exit) in [("-INT", 130), ("-TERM", 143)] {
        let place = Place::new("fs");
        let mut command = artifactd();
        command.args(["put", "-", "--store", &place.url]).args(SESSION).stdin(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&noise(4_000_000)).unwrap();
        let has_temp = || {
            let tmp = place.path("store/tmp");
            tmp.exists() && fs::read_dir(tmp).unwrap().next().is_some()
        };
        wait_until(has_temp);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        drop(stdin);
        assert!(!has_temp());
        assert_eq!(place.run("ls", &["--all-tenants", "--json"]).expect(0).text(), "");
    }
}

#[cfg(unix)]
#[test]
fn a_get_can_be_interrupted_while_its_reader_stands_still() {
    let place = Place::new("fs");
    let id = place.put(&noise(8_000_000), &[]);
    let mut command = artifactd();
    command.args(["get", &id, "--store", &place.url]).args(SESSION);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // Once the first byte is here the rest waits for the pipe, which holds less.
    stdout.read_exact(&mut [0]).unwrap();
    signal(&child, "-INT");
    wait_until(|| child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
