//! Commands that read an fs or sqlite store change nothing. They work on read-only media, and those on sqlite for a user
//! who does not own the store.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::unwrap_used)] // Helpers of tests.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{MISSING, SESSION, TestStore, artifactd, pseudorandom_bytes, run};

/// A user that owns no file.
const NOBODY: u32 = 65_534;

/// A sqlite store in a directory of its own, so that every new file is visible.
struct SqliteStore {
    store: TestStore,
    dir: PathBuf,
}

impl SqliteStore {
    fn new() -> Self {
        let mut store = TestStore::new("sqlite");
        let dir = store.path("media");
        fs::create_dir(&dir).unwrap();
        store.url = format!("sqlite:{}", dir.join("st.db").display());
        Self { store, dir }
    }

    /// The files of the directory, with their owners.
    fn files(&self) -> Vec<(String, u32, u32)> {
        let entries = fs::read_dir(&self.dir).unwrap().map(Result::unwrap);
        let mut files: Vec<_> = entries
            .map(|entry| {
                let metadata = entry.metadata().unwrap();
                (entry.file_name().into_string().unwrap(), metadata.uid(), metadata.gid())
            })
            .collect();
        files.sort();
        files
    }

    /// Deletes the lock file of the driver, as if only the database was restored from a backup.
    fn delete_lock_file(&self) {
        fs::remove_file(self.dir.join("st.db-owners")).unwrap();
    }
}

/// The program in a mount namespace in which `dir` is read-only.
fn on_read_only_media(dir: &Path) -> Command {
    // The superuser creates a mount namespace. Other users need a user namespace around it.
    let is_superuser = Command::new("unshare").args(["--mount", "true"]).status();
    let is_superuser = is_superuser.expect("this test needs unshare(1) of util-linux").success();
    let mut command = Command::new("unshare");
    command.args(if is_superuser { &["--mount"][..] } else { &["--map-root-user", "--mount"] });
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    command.args(["sh", "-c", script]).arg(dir).arg(artifactd().get_program());
    command.env_remove("ARTIFACTD_STORE");
    command
}

#[test]
fn reading_commands_work_on_read_only_media() {
    let store = SqliteStore::new();
    let bytes = pseudorandom_bytes(700_000);
    let id = store.store.put(&bytes, &[]);
    store.delete_lock_file();
    let before = store.files();
    let run_command = |args: &[&str]| {
        let mut command = on_read_only_media(&store.dir);
        run(command.args(args).args(["--store", &store.store.url]), b"")
    };
    assert!(run_command(&[&["ls", "--json"], &SESSION[..2]].concat()).expect(0).text().contains(&id));
    run_command(&[&["stat", &id], SESSION].concat()).expect(0);
    assert!(run_command(&[&["get", &id], SESSION].concat()).expect(0).bytes() == bytes);
    run_command(&[&["get", MISSING], SESSION].concat()).expect(4);
    run_command(&["drivers"]).expect(0);
    run_command(&[&["put", "-"], SESSION].concat()).expect(1);
    assert_eq!(store.files(), before);
}

#[test]
fn reading_commands_work_for_a_user_with_read_access() {
    let store = SqliteStore::new();
    let bytes = pseudorandom_bytes(700_000);
    let id = store.store.put(&bytes, &[]);
    store.delete_lock_file();
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(store.dir.parent().unwrap(), 0o755);
    allow(&store.dir, 0o555);
    allow(&store.dir.join("st.db"), 0o444);
    // The other user may have no access to the directory of the program.
    let program = store.store.path("artifactd");
    let built = artifactd().get_program().to_owned();
    fs::hard_link(&built, &program).or_else(|_| fs::copy(&built, &program).map(drop)).unwrap();
    let run_command = |args: &[&str]| {
        let mut command = Command::new(&program);
        // The superuser ignores permissions.
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.env_remove("ARTIFACTD_STORE").args(args).args(["--store", &store.store.url]);
        run(&mut command, b"")
    };
    let before = store.files();
    assert!(run_command(&[&["ls", "--json"], &SESSION[..2]].concat()).expect(0).text().contains(&id));
    run_command(&[&["stat", &id], SESSION].concat()).expect(0);
    assert!(run_command(&[&["get", &id], SESSION].concat()).expect(0).bytes() == bytes);
    run_command(&[&["put", "-"], SESSION].concat()).expect(1);
    assert_eq!(store.files(), before);
    allow(&store.dir, 0o755);
}

#[test]
fn a_log_that_needs_recovery_is_named_on_read_only_media() {
    let store = SqliteStore::new();
    store.store.put(b"x", &[]);
    store.delete_lock_file();
    // A killed server leaves a log without an index, because the index was in shared memory.
    fs::write(store.dir.join("st.db-wal"), pseudorandom_bytes(4096)).unwrap();
    let mut command = on_read_only_media(&store.dir);
    let outcome = run(command.args(["ls", "--tenant", "acme", "--store", &store.store.url]), b"");
    outcome.expect(1).expect_message("write-ahead log must be recovered first");
}

#[test]
fn reading_commands_leave_no_file() {
    let store = SqliteStore::new();
    let id = store.store.put(b"x", &[]);
    store.delete_lock_file();
    let before = store.files();
    store.store.run("ls", &["--tenant", "acme"]).expect(0);
    store.store.run_in_session("stat", &[&id]).expect(0);
    assert_eq!(store.store.run_in_session("get", &[&id]).expect(0).bytes(), b"x");
    assert_eq!(store.files(), before);
}

#[test]
fn reading_commands_change_nothing_in_an_fs_store() {
    let store = TestStore::new("fs");
    let bytes = pseudorandom_bytes(700_000);
    let id = store.put(&bytes, &[]);
    // The temporary file of a process that died. A command that writes would delete it.
    let orphan = store.path("store/tmp/put-00000000000000000000000000000007");
    fs::write(&orphan, "orphan").unwrap();
    for is_read_only in [false, true] {
        let run_command = |args: &[&str]| {
            let mut command =
                if is_read_only { on_read_only_media(&store.path("store")) } else { artifactd() };
            run(command.args(args).args(["--store", &store.url]), b"")
        };
        assert!(run_command(&[&["ls", "--json"], &SESSION[..2]].concat()).expect(0).text().contains(&id));
        run_command(&[&["stat", &id], SESSION].concat()).expect(0);
        assert!(run_command(&[&["get", &id], SESSION].concat()).expect(0).bytes() == bytes);
        run_command(&[&["get", MISSING], SESSION].concat()).expect(4);
        run_command(&["drivers"]).expect(0);
        assert!(orphan.exists(), "on read-only media: {is_read_only}");
    }
}

#[test]
fn files_that_the_superuser_writes_belong_to_the_owner_of_the_database() {
    let store = SqliteStore::new();
    store.store.put(b"x", &[]);
    store.delete_lock_file();
    let database = store.dir.join("st.db");
    // Users who are not the superuser cannot change the owner: all their files belong to them before and after.
    let owner = match chown(&database, Some(NOBODY), Some(NOBODY)) {
        Ok(()) => NOBODY,
        Err(_) => fs::metadata(&database).unwrap().uid(),
    };
    store.store.put(b"y", &[]);
    let files = store.files();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|(_, user, _)| *user == owner), "{files:?}");
}

#[test]
fn a_database_that_the_superuser_creates_belongs_to_the_owner_of_its_directory() {
    let store = SqliteStore::new();
    let owner = match chown(&store.dir, Some(NOBODY), Some(NOBODY)) {
        Ok(()) => NOBODY,
        Err(_) => fs::metadata(&store.dir).unwrap().uid(),
    };
    store.store.put(b"y", &[]);
    let files = store.files();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|(_, user, _)| *user == owner), "{files:?}");
}

#[test]
fn files_that_the_superuser_puts_into_a_store_belong_to_the_owner_of_its_directory() {
    let store = TestStore::new("fs");
    store.put(b"x", &[]);
    let root = store.path("store");
    let owner = match chown(&root, Some(NOBODY), Some(NOBODY)) {
        Ok(()) => NOBODY,
        Err(_) => fs::metadata(&root).unwrap().uid(),
    };
    for dir in ["tmp", "artifacts"] {
        // The existing directories also get this owner, as in a store that a service has created.
        let _ = chown(root.join(dir), Some(owner), Some(owner));
    }
    let other = ["-", "--tenant", "other", "--user", "bob", "--session", "s-9"];
    store.run_with_stdin("put", &other, b"of another scope").expect(0);
    let mut dirs = vec![root.join("artifacts")];
    let mut entries_of_owner = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            entries_of_owner += usize::from(metadata.uid() == owner);
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    // At least the directories of the new scope and the file in them belong to the owner.
    assert!(entries_of_owner >= 2, "only {entries_of_owner} belong to {owner}");
}
