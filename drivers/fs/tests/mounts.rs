//! File systems that offer less than a disk does: what they lack is named when the store opens.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)] // A tool that fails fails its test.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use artifact_store_core::{ArtifactStore, Body, ErrorKind, PutOptions, PutOutcome, Scope};
use artifact_store_fs::{FsConfig, FsStore, SyncPolicy};
use rustix::io::Errno;
use tempfile::TempDir;

/// A FUSE file system over a folder, without a rename that does not replace. It goes with this value.
struct Mount {
    home: TempDir,
    server: Child,
}

impl Mount {
    /// `link` and `sync_dir`: what a hard link and the fsync of a directory answer; `None`: they work.
    fn new(link: Option<Errno>, sync_dir: Option<Errno>) -> Self {
        let home = TempDir::new().unwrap();
        let [folder, at] = ["folder", "mount"].map(|name| home.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&at).unwrap();
        let number = |error: Option<Errno>| error.map_or(0, Errno::raw_os_error).to_string();
        // The system's own Python has the system's packages.
        let server = Command::new("/usr/bin/python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuse/folder.py"))
            .args([&folder, &at])
            .args([number(link), number(sync_dir)])
            .stdin(Stdio::null())
            .spawn();
        let server = server.unwrap_or_else(|error| panic!("this test needs /usr/bin/python3: {error}"));
        let mut mount = Self { home, server };
        let (started, outside) = (Instant::now(), fs::metadata(mount.home.path()).unwrap().dev());
        while !fs::metadata(&at).is_ok_and(|found| found.dev() != outside) {
            let ended = mount.server.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < Duration::from_mins(1),
                "no FUSE file system ({ended:?}): this test needs /dev/fuse and the packages python3-fusepy and fuse3"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        mount
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("mount/store")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.home.path().join("mount");
        let _ = Command::new("fusermount3").arg("-uz").arg(at).status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_cannot_publish_atomically_is_refused_by_name_and_no_store_is_made() {
    for link in [Errno::IO, Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL] {
        let mount = Mount::new(Some(link), None);
        let error = FsStore::open(FsConfig::new(mount.root())).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Backend, "{text}");
        for word in ["type fuse", "RENAME_NOREPLACE", "hard links", "local file system", "driver s3"] {
            assert!(text.contains(word), "{link}: {word}: {text}");
        }
        assert!(!text.contains("device"), "{text}");
        assert!(!mount.root().join("FORMAT").exists(), "{link}: a store was made");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_has_hard_links_alone_publishes_by_them() {
    let mount = Mount::new(None, None);
    let store = FsStore::open(FsConfig::new(mount.root())).await.unwrap();
    let scope = scope();
    let put = || store.put(&scope, Body::from("bytes"), PutOptions::default());
    let first = put().await.unwrap();
    assert_eq!(first.outcome, PutOutcome::Created);
    assert_eq!(put().await.unwrap().outcome, PutOutcome::StoodAlready);
    assert!(store.stat(&scope, &first.record.id).await.unwrap().is_some());
    assert!(store.delete(&scope, &first.record.id).await.unwrap());
    assert_eq!(fs::read_dir(mount.root().join("tmp")).unwrap().count(), 0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_syncs_no_directory_is_refused_where_that_is_asked_for() {
    let mount = Mount::new(None, Some(Errno::INVAL));
    let text = FsStore::open(FsConfig::new(mount.root())).await.unwrap_err().to_string();
    for word in ["type fuse", "sync a directory (fsync", "sync = never"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let store = FsStore::open(FsConfig::new(mount.root()).sync(SyncPolicy::Never)).await.unwrap();
    store.put(&scope(), Body::from("bytes"), PutOptions::default()).await.unwrap();
    store.close().await.unwrap();
}
