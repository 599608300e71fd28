//! The files on the disk, and which directories can become a store.
#![allow(clippy::unwrap_used)] // If a helper panics, its test fails.

mod common;
mod harness;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use artifact_store_core::{
    ArtifactStore, Body, Capabilities, Driver, ErrorKind, Flag, HealthStatus, KeyToken, Options, PutOptions,
    PutOutcome, Scope, SystemClock,
};
use artifact_store_fs::{FsConfig, FsDriver, FsStore, SweepReport, SyncPolicy};
use common::{MIB, TestDir, assert_kind, drain, id_of, put, random_bytes, scope};
use serde_json::json;

#[tokio::test]
async fn an_artifact_is_one_file_named_by_its_key_tokens_that_begins_with_its_bytes() {
    let test_dir = TestDir::new();
    put(&test_dir.open().await, "a short report").await;

    let [tenant, user, session, task] = KeyToken::of_scope(&scope());
    let id = KeyToken::of_id(&id_of(b"a short report"));
    let path = format!("artifacts/{tenant}/{user}/{session}/{task}/{id}");
    assert_eq!(test_dir.file(), test_dir.root().join(path));
    let file = fs::read(test_dir.file()).unwrap();
    assert!(file.starts_with(b"a short report{\"id\":"));
    assert!(file.ends_with(b"ARTSTORE"));
    assert_eq!(fs::read_to_string(test_dir.root().join("FORMAT")).unwrap(), "artifact-store-fs 2\n");
}

#[tokio::test]
async fn only_their_owner_can_access_files_and_directories() {
    let test_dir = TestDir::new();
    put(&test_dir.open().await, "secret").await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&test_dir.file()), 0o600);
    assert_eq!(mode(&test_dir.root().join("FORMAT")), 0o600);
    let mut dir = test_dir.file();
    while dir.pop() && dir != test_dir.path() {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
    }
    assert_eq!(mode(&test_dir.root().join("tmp")), 0o700);
}

#[tokio::test]
async fn unusual_scopes_stay_under_the_root() {
    let test_dir = TestDir::new();
    let store = test_dir.open_unsynced().await;
    let longest = "x".repeat(256);
    let parts = [
        "..",
        ".",
        "/",
        "../../etc",
        "%2f",
        "a/b",
        "\u{1f980}",
        "CON",
        "trailing.",
        "a",
        "A",
        "\\",
        &longest,
    ];
    for part in parts {
        let scope = Scope::new(part, part, part).unwrap().with_task(part).unwrap();
        let put = store.put(&scope, Body::from("bytes"), PutOptions::default()).await.unwrap();
        assert_eq!(put.outcome, PutOutcome::Created, "{part}");
        let get = store.get(&scope, &put.record.id, None).await.unwrap().unwrap();
        assert_eq!(drain(get).await.unwrap(), "bytes");
    }
    assert_eq!(test_dir.files().len(), parts.len());
    assert_eq!(test_dir.residue(), Vec::<String>::new());
    assert_eq!(fs::read_dir(test_dir.path()).unwrap().count(), 1, "something exists beside the root");
}

#[tokio::test]
async fn a_record_larger_than_the_first_read_comes_back_whole() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let options = PutOptions {
        metadata: json!({ "long": "\"".repeat(40_000), "float": 0.1 }).as_object().unwrap().clone(),
        ..PutOptions::default()
    };
    for size in [0, 1, 5000] {
        let bytes = random_bytes(size);
        let put = store.put(&scope(), Body::from(bytes.clone()), options.clone()).await.unwrap();
        assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap().unwrap(), put.record);
        let get = store.get(&scope(), &put.record.id, None).await.unwrap().unwrap();
        assert_eq!(get.record.options, options);
        assert_eq!(drain(get).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn artifacts_of_sizes_around_every_limit_come_back_whole_and_in_ranges() {
    let test_dir = TestDir::new();
    let store = test_dir.open_unsynced().await;
    for size in [0, 1, 47, 4096, MIB / 4, MIB / 4 + 1, MIB / 2 + 1, MIB, MIB + 1, 3 * MIB + 7] {
        let bytes = random_bytes(size);
        let record = put(&store, bytes.clone()).await.record;
        let get = store.get(&scope(), &record.id, None).await.unwrap().unwrap();
        assert!(drain(get).await.unwrap() == bytes, "{size}");
        let total = size as u64;
        for (start, end) in
            [(0, 1), (total / 2, total), (1, total), (total.saturating_sub(1), total), (total, total + 9)]
        {
            let get = store.get(&scope(), &record.id, Some((start..end).into())).await.unwrap().unwrap();
            let range = get.range.clone();
            let served =
                bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
            assert!(drain(get).await.unwrap() == served, "{start}..{end} of {size}");
        }
    }
}

#[tokio::test]
async fn a_delete_removes_the_directories_that_it_leaves_empty_and_no_others() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let neighbour = scope().with_task("other").unwrap();
    store.put(&neighbour, Body::from("stays"), PutOptions::default()).await.unwrap();
    let deleted = put(&store, "goes").await.record.id;
    assert!(store.delete(&scope(), &deleted).await.unwrap());
    assert!(!store.delete(&scope(), &deleted).await.unwrap());
    assert_eq!(test_dir.residue(), Vec::<String>::new());
    assert!(store.stat(&neighbour, &id_of(b"stays")).await.unwrap().is_some());

    assert!(store.delete(&neighbour, &id_of(b"stays")).await.unwrap());
    assert_eq!(fs::read_dir(test_dir.root().join("artifacts")).unwrap().count(), 0);

    // The cached directory does not exist any more. The next put creates it again.
    put(&store, "back").await;
    assert_eq!(test_dir.files().len(), 1);
}

#[tokio::test]
async fn a_root_is_created_but_not_its_parent() {
    let test_dir = TestDir::new();
    let config = FsConfig::new(test_dir.path().join("missing/store"));
    assert_kind(FsStore::open(config).await, ErrorKind::InvalidArgument, "does not exist");
    assert!(!test_dir.path().join("missing").exists());
    assert_kind(FsStore::open(FsConfig::new("")).await, ErrorKind::InvalidArgument, "empty");
    test_dir.open().await;
    assert!(test_dir.root().join("artifacts").is_dir());
}

#[tokio::test]
async fn a_root_that_is_a_link_or_a_file_is_refused() {
    let test_dir = TestDir::new();
    let elsewhere = test_dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, test_dir.root()).unwrap();
    for path in [test_dir.root(), test_dir.root().join(""), test_dir.root().join(".")] {
        assert_kind(FsStore::open(FsConfig::new(path)).await, ErrorKind::InvalidArgument, "symbolic link");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "something was created behind the link");

    fs::remove_file(test_dir.root()).unwrap();
    fs::write(test_dir.root(), "a file").unwrap();
    assert_kind(FsStore::open(test_dir.config()).await, ErrorKind::InvalidArgument, "not a directory");
}

#[tokio::test]
async fn a_directory_that_holds_something_else_is_refused_and_left_alone() {
    let test_dir = TestDir::new();
    fs::create_dir(test_dir.root()).unwrap();
    for name in ["thesis.txt", "tmp/thesis.txt", "artifacts/build.zip"] {
        let file = test_dir.root().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "years of work").unwrap();
        assert_kind(FsStore::open(test_dir.config()).await, ErrorKind::InvalidArgument, "is not a store");
        assert_eq!(fs::read_to_string(&file).unwrap(), "years of work");
        assert!(!test_dir.root().join("FORMAT").exists());
        fs::remove_file(file).unwrap();
    }
}

#[tokio::test]
async fn a_root_whose_creation_was_interrupted_is_completed() {
    let test_dir = TestDir::new();
    fs::create_dir(test_dir.root()).unwrap();
    test_dir.open().await;
    fs::remove_file(test_dir.root().join("FORMAT")).unwrap();
    fs::remove_dir(test_dir.root().join("artifacts")).unwrap();
    fs::write(test_dir.root().join("tmp").join(format!("put-{:032x}", 7)), "artifact-st").unwrap();
    fs::create_dir(test_dir.root().join("lost+found")).unwrap();
    put(&test_dir.open().await, "works").await;
    assert_eq!(test_dir.temp_files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_file_that_fuse_or_nfs_keeps_after_its_removal_is_not_a_foreign_file() {
    for (name, is_accepted) in
        [(".fuse_hidden0000001a00000001", true), (".nfs00000000004a2c1b", true), (".hidden", false)]
    {
        let test_dir = TestDir::new();
        fs::create_dir_all(test_dir.root().join("tmp")).unwrap();
        fs::write(test_dir.root().join("tmp").join(name), "removed while it was open").unwrap();
        assert_eq!(FsStore::open(FsConfig::new(test_dir.root())).await.is_ok(), is_accepted, "{name}");
    }
}

#[tokio::test]
async fn a_store_of_another_format_is_refused_by_its_version() {
    let test_dir = TestDir::new();
    test_dir.open().await;
    let marker = test_dir.root().join("FORMAT");
    for (text, message) in [
        ("artifact-store-fs 3\n", "format version 3; this build reads versions 1 and 2"),
        ("artifact-store-fs 12\n", "format version 12; this build reads versions 1 and 2"),
        ("artifact-store-fs one\n", "not the marker"),
        ("something else", "not the marker"),
        ("", "not the marker"),
    ] {
        fs::write(&marker, text).unwrap();
        assert_kind(FsStore::open(test_dir.config()).await, ErrorKind::InvalidArgument, message);
        assert_eq!(fs::read_to_string(&marker).unwrap(), text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_stores_may_be_opened_on_a_new_root_at_once() {
    let test_dir = TestDir::new();
    let opens = (0..16).map(|_| tokio::spawn(FsStore::open(test_dir.config())));
    let stores = futures_util::future::join_all(opens).await;
    let stores: Vec<FsStore> = stores.into_iter().map(|store| store.unwrap().unwrap()).collect();
    put(&stores[0], "shared").await;
    for store in &stores {
        assert!(store.stat(&scope(), &id_of(b"shared")).await.unwrap().is_some());
    }
    assert_eq!(test_dir.residue(), Vec::<String>::new());
}

#[tokio::test]
async fn a_root_with_dots_and_a_trailing_slash_works() {
    let test_dir = TestDir::new();
    fs::create_dir(test_dir.path().join("a")).unwrap();
    let store = FsStore::open(FsConfig::new(test_dir.path().join("a/.././store/"))).await.unwrap();
    put(&store, "dots").await;
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);
    assert_eq!(test_dir.files().len(), 1);
}

#[tokio::test]
async fn options_set_the_same_values_as_the_configuration() {
    let test_dir = TestDir::new();
    let info = FsDriver.info();
    let root = test_dir.root().to_str().unwrap().to_owned();
    let parse = |given: Vec<(&str, serde_json::Value)>| {
        Options::parse("fs", info.options, given.into_iter().map(|(name, value)| (name.to_owned(), value)))
    };
    assert_kind(parse(vec![]), ErrorKind::InvalidArgument, "root");
    let durable = Capabilities::new().with(Flag::Shared).with(Flag::Durable);
    let options = parse(vec![("root", json!(root))]).unwrap();
    assert_eq!(FsDriver.capabilities(&options), durable);

    let given = vec![
        ("root", json!(root)),
        ("sync", json!("never")),
        ("max_artifact_bytes", json!("4KiB")),
        ("max_scan", json!(2)),
    ];
    let options = parse(given).unwrap();
    let store = FsDriver.open(&options, std::sync::Arc::new(SystemClock)).await.unwrap();
    assert_eq!(store.capabilities(), FsDriver.capabilities(&options));
    assert_eq!(store.capabilities(), durable.without(Flag::Durable).max_artifact_bytes(4096));
    assert_eq!(store.driver(), "fs");
    let config = test_dir.config().sync(SyncPolicy::Never);
    assert_eq!(FsStore::open(config).await.unwrap().sweep().await.unwrap(), SweepReport::default());
}
