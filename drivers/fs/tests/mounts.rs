//! File systems that support less than a local disk: opening a store names the unsupported operation.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)] // If a helper panics, its test fails.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use artifact_store_core::{ArtifactStore, Body, ErrorKind, PutOptions, PutOutcome, Scope};
use artifact_store_fs::{FsConfig, FsStore, SyncPolicy};
use rustix::io::Errno;
use tempfile::TempDir;

/// A FUSE file system that serves a directory and does not support `RENAME_NOREPLACE`. Dropping this value unmounts it.
struct Mount {
    test_dir: TempDir,
    server: Child,
}

impl Mount {
    /// `link` is the error that creating a hard link returns. `sync_dir` is the error that syncing a directory returns.
    /// `None` means that the operation works.
    fn new(link: Option<Errno>, sync_dir: Option<Errno>) -> Self {
        let test_dir = TempDir::new().unwrap();
        let [source, mount_point] = ["source", "mount"].map(|name| test_dir.path().join(name));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&mount_point).unwrap();
        let error_number = |error: Option<Errno>| error.map_or(0, Errno::raw_os_error).to_string();
        // The package python3-fusepy is installed only for the Python of the operating system.
        let server = Command::new("/usr/bin/python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuse/passthrough.py"))
            .args([&source, &mount_point])
            .args([error_number(link), error_number(sync_dir)])
            .stdin(Stdio::null())
            .spawn();
        let server = server.unwrap_or_else(|error| panic!("this test needs /usr/bin/python3: {error}"));
        let mut mount = Self { test_dir, server };
        let (started, parent_device) = (Instant::now(), fs::metadata(mount.test_dir.path()).unwrap().dev());
        while !fs::metadata(&mount_point).is_ok_and(|metadata| metadata.dev() != parent_device) {
            let exit_status = mount.server.try_wait().unwrap();
            assert!(
                exit_status.is_none() && started.elapsed() < Duration::from_mins(1),
                "no FUSE file system ({exit_status:?}): this test needs /dev/fuse and the packages python3-fusepy \
                 and fuse3"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        mount
    }

    fn root(&self) -> PathBuf {
        self.test_dir.path().join("mount/store")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mount_point = self.test_dir.path().join("mount");
        let _ = Command::new("fusermount3").arg("-uz").arg(mount_point).status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_cannot_publish_atomically_is_refused_by_its_type_and_no_store_is_created() {
    for link in [Errno::IO, Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL] {
        let mount = Mount::new(Some(link), None);
        let error = FsStore::open(FsConfig::new(mount.root())).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Backend, "{text}");
        for word in ["type fuse", "RENAME_NOREPLACE", "hard links", "local file system", "driver s3"] {
            assert!(text.contains(word), "{link}: {word}: {text}");
        }
        assert!(!text.contains("device"), "{text}");
        assert!(!mount.root().join("FORMAT").exists(), "{link}: a store was created");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_has_only_hard_links_publishes_by_them() {
    let mount = Mount::new(None, None);
    let store = FsStore::open(FsConfig::new(mount.root())).await.unwrap();
    let scope = scope();
    let put = || store.put(&scope, Body::from("bytes"), PutOptions::default());
    let first = put().await.unwrap();
    assert_eq!(first.outcome, PutOutcome::Created);
    assert_eq!(put().await.unwrap().outcome, PutOutcome::AlreadyExists);
    assert!(store.stat(&scope, &first.record.id).await.unwrap().is_some());
    assert!(store.delete(&scope, &first.record.id).await.unwrap());
    assert_eq!(fs::read_dir(mount.root().join("tmp")).unwrap().count(), 0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_cannot_sync_directories_is_refused_if_the_policy_requires_it() {
    let mount = Mount::new(None, Some(Errno::INVAL));
    let text = FsStore::open(FsConfig::new(mount.root())).await.unwrap_err().to_string();
    for word in ["type fuse", "sync a directory (fsync", "sync = never"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let store = FsStore::open(FsConfig::new(mount.root()).sync(SyncPolicy::Never)).await.unwrap();
    store.put(&scope(), Body::from("bytes"), PutOptions::default()).await.unwrap();
    store.close().await.unwrap();
}
