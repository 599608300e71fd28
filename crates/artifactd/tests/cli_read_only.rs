//! Verbs that read a sqlite store change nothing: not on media that cannot be written, and not as another user than the store's.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::unwrap_used)] // Helpers of tests.

mod cli_kit;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cli_kit::{MISSING, Place, SESSION, artifactd, noise, run};

/// A user that has nothing.
const NOBODY: u32 = 65_534;

/// A sqlite store in a folder of its own, so that all that is made beside it is seen.
struct Store {
    place: Place,
    folder: PathBuf,
}

impl Store {
    fn new() -> Self {
        let mut place = Place::new("sqlite");
        let folder = place.path("media");
        fs::create_dir(&folder).unwrap();
        place.url = format!("sqlite:{}", folder.join("st.db").display());
        Self { place, folder }
    }

    /// The files of the folder, with their owners.
    fn files(&self) -> Vec<(String, u32, u32)> {
        let entries = fs::read_dir(&self.folder).unwrap().map(Result::unwrap);
        let mut files: Vec<_> = entries
            .map(|entry| {
                let found = entry.metadata().unwrap();
                (entry.file_name().into_string().unwrap(), found.uid(), found.gid())
            })
            .collect();
        files.sort();
        files
    }

    /// Takes away the lock file that the driver leaves, as a restore of the database alone does.
    fn restored(&self) {
        fs::remove_file(self.folder.join("st.db-owners")).unwrap();
    }
}

/// The program in a mount namespace of its own in which `folder` can only be read.
fn on_read_only_media(folder: &Path) -> Command {
    // The superuser makes a mount namespace; others make a user namespace around it.
    let own = Command::new("unshare").args(["--mount", "true"]).status();
    let own = own.expect("this test needs unshare(1) of util-linux").success();
    let mut command = Command::new("unshare");
    command.args(if own { &["--mount"][..] } else { &["--map-root-user", "--mount"] });
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    command.args(["sh", "-c", script]).arg(folder).arg(artifactd().get_program());
    command.env_remove("ARTIFACTD_STORE");
    command
}

#[test]
fn reading_verbs_work_on_media_that_cannot_be_written() {
    let store = Store::new();
    let bytes = noise(700_000);
    let id = store.place.put(&bytes, &[]);
    store.restored();
    let before = store.files();
    let verb = |words: &[&str]| {
        let mut command = on_read_only_media(&store.folder);
        run(command.args(words).args(["--store", &store.place.url]), b"")
    };
    assert!(verb(&[&["ls", "--json"], &SESSION[..2]].concat()).expect(0).text().contains(&id));
    verb(&[&["stat", &id], SESSION].concat()).expect(0);
    assert!(verb(&[&["get", &id], SESSION].concat()).expect(0).bytes() == bytes);
    verb(&[&["get", MISSING], SESSION].concat()).expect(4);
    verb(&["drivers"]).expect(0);
    verb(&[&["put", "-"], SESSION].concat()).expect(1);
    assert_eq!(store.files(), before);
}

#[test]
fn reading_verbs_work_for_a_user_who_may_only_read() {
    let store = Store::new();
    let bytes = noise(700_000);
    let id = store.place.put(&bytes, &[]);
    store.restored();
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(store.folder.parent().unwrap(), 0o755);
    allow(&store.folder, 0o555);
    allow(&store.folder.join("st.db"), 0o444);
    // The program may be where another user cannot go.
    let program = store.place.path("artifactd");
    let built = artifactd().get_program().to_owned();
    fs::hard_link(&built, &program).or_else(|_| fs::copy(&built, &program).map(drop)).unwrap();
    let verb = |words: &[&str]| {
        let mut command = Command::new(&program);
        // Rights do not bind the superuser.
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.env_remove("ARTIFACTD_STORE").args(words).args(["--store", &store.place.url]);
        run(&mut command, b"")
    };
    let before = store.files();
    assert!(verb(&[&["ls", "--json"], &SESSION[..2]].concat()).expect(0).text().contains(&id));
    verb(&[&["stat", &id], SESSION].concat()).expect(0);
    assert!(verb(&[&["get", &id], SESSION].concat()).expect(0).bytes() == bytes);
    verb(&[&["put", "-"], SESSION].concat()).expect(1);
    assert_eq!(store.files(), before);
    allow(&store.folder, 0o755);
}

#[test]
fn a_log_that_needs_recovery_is_named_on_media_that_cannot_be_written() {
    let store = Store::new();
    store.place.put(b"x", &[]);
    store.restored();
    // What a killed server leaves: a log whose index went with it.
    fs::write(store.folder.join("st.db-wal"), noise(4096)).unwrap();
    let mut command = on_read_only_media(&store.folder);
    let done = run(command.args(["ls", "--tenant", "acme", "--store", &store.place.url]), b"");
    done.expect(1).says("write-ahead log was not folded back");
}

#[test]
fn reading_verbs_leave_no_file_behind() {
    let store = Store::new();
    let id = store.place.put(b"x", &[]);
    store.restored();
    let before = store.files();
    store.place.run("ls", &["--tenant", "acme"]).expect(0);
    store.place.within("stat", &[&id]).expect(0);
    assert_eq!(store.place.within("get", &[&id]).expect(0).bytes(), b"x");
    assert_eq!(store.files(), before);
}

#[test]
fn what_the_superuser_writes_belongs_to_the_owner_of_the_database() {
    let store = Store::new();
    store.place.put(b"x", &[]);
    store.restored();
    let database = store.folder.join("st.db");
    // For everybody else the kind cannot occur: all files are the caller's own before and after.
    let owner = match chown(&database, Some(NOBODY), Some(NOBODY)) {
        Ok(()) => NOBODY,
        Err(_) => fs::metadata(&database).unwrap().uid(),
    };
    store.place.put(b"y", &[]);
    let files = store.files();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|(_, user, _)| *user == owner), "{files:?}");
}

#[test]
fn a_database_that_the_superuser_makes_belongs_to_the_owner_of_its_folder() {
    let store = Store::new();
    let owner = match chown(&store.folder, Some(NOBODY), Some(NOBODY)) {
        Ok(()) => NOBODY,
        Err(_) => fs::metadata(&store.folder).unwrap().uid(),
    };
    store.place.put(b"y", &[]);
    let files = store.files();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|(_, user, _)| *user == owner), "{files:?}");
}

#[test]
fn what_the_superuser_puts_into_a_folder_belongs_to_the_owner_of_the_folder() {
    let place = Place::new("fs");
    place.put(b"x", &[]);
    let root = place.path("store");
    let owner = match chown(&root, Some(NOBODY), Some(NOBODY)) {
        Ok(()) => NOBODY,
        Err(_) => fs::metadata(&root).unwrap().uid(),
    };
    for folder in ["tmp", "artifacts"] {
        // What was there before has its owner already, as a service's own folder does.
        let _ = chown(root.join(folder), Some(owner), Some(owner));
    }
    let other = ["-", "--tenant", "other", "--user", "bob", "--session", "s-9"];
    place.run_with("put", &other, b"of another scope").expect(0);
    let mut folders = vec![root.join("artifacts")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let found = entry.metadata().unwrap();
            seen += usize::from(found.uid() == owner);
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    // The directories of the new scope and the file in them.
    assert!(seen >= 2, "{seen} of {owner}'s");
}
