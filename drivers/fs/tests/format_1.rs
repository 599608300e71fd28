//! Stores of format 1, which earlier builds wrote: they have no BLAKE3 trees.
#![allow(clippy::unwrap_used)] // If a helper panics, its test fails.

mod common;
mod harness;

use std::fs;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Bytes, Digest, Driver, ErrorKind, Options, PutOptions, Record, SystemClock, Timestamp,
};
use artifact_store_fs::FsDriver;
use common::{MIB, TestDir, assert_kind, drain, id_of, put, random_bytes, scope};
use serde_json::json;

/// The file of an artifact as format 1 has it: bytes, record, footer.
fn file_of_format_1(bytes: &Bytes) -> Vec<u8> {
    let record = Record::new(
        scope(),
        PutOptions::default(),
        Digest::of(bytes),
        bytes.len() as u64,
        Timestamp::from_micros(1_767_323_045_000_006),
    );
    let json = serde_json::to_vec(&record).unwrap();
    let length = u32::try_from(json.len()).unwrap().to_le_bytes();
    let checksum = Digest::of(&[&json[..], &length].concat());
    [&bytes[..], &json, checksum.as_bytes(), &length, &[1, 0, 0, 0], b"ARTSTORE"].concat()
}

/// Turns the store of `test_dir` into one of format 1 that contains `bytes`.
async fn write_store_of_format_1(test_dir: &TestDir, bytes: &Bytes) {
    // The names are the same in both formats, so a put creates the directories.
    put(&test_dir.open().await, bytes.clone()).await;
    fs::write(test_dir.file(), file_of_format_1(bytes)).unwrap();
    fs::write(test_dir.root().join("FORMAT"), "artifact-store-fs 1\n").unwrap();
}

fn format(test_dir: &TestDir) -> String {
    fs::read_to_string(test_dir.root().join("FORMAT")).unwrap()
}

#[tokio::test]
async fn a_store_of_format_1_is_opened_its_artifacts_are_checked_as_before_and_new_ones_have_a_tree() {
    let test_dir = TestDir::new();
    let old = random_bytes(2 * MIB);
    write_store_of_format_1(&test_dir, &old).await;
    let old_file = test_dir.file();

    let store = test_dir.open_gated().await;
    assert_eq!(format(&test_dir), "artifact-store-fs 2\n");
    let get = store.get(&scope(), &id_of(&old), None).await.unwrap().unwrap();
    assert_eq!(get.record.blake3, None);
    assert_eq!(drain(get).await.unwrap(), old);
    let get = store.get(&scope(), &id_of(&old), Some((MIB as u64..MIB as u64 + 9).into())).await.unwrap();
    assert_eq!(drain(get.unwrap()).await.unwrap(), old[MIB..MIB + 9]);
    // Another put of the same bytes keeps the artifact as it is.
    assert_eq!(put(&store, old.clone()).await.record.blake3, None);

    let new = old.slice(..MIB);
    let record = put(&store, new.clone()).await.record;
    assert!(record.blake3.is_some());
    assert_eq!(store.stat(&scope(), &record.id).await.unwrap(), Some(record));

    let mut file = fs::read(&old_file).unwrap();
    file[MIB] ^= 1;
    fs::write(&old_file, file).unwrap();
    let get = store.get(&scope(), &id_of(&old), None).await.unwrap().unwrap();
    assert_kind(drain(get).await, ErrorKind::Corrupt, "SHA-256");
}

#[tokio::test]
async fn a_store_of_format_1_that_is_opened_for_reading_only_is_not_changed() {
    let test_dir = TestDir::new();
    let old = random_bytes(MIB);
    write_store_of_format_1(&test_dir, &old).await;
    let given = [("root".to_owned(), json!(test_dir.root()))];
    let options = Options::parse("fs", FsDriver.info().options, given).unwrap();
    let store = FsDriver.open_read_only(&options, Arc::new(SystemClock)).await.unwrap();
    let get = store.get(&scope(), &id_of(&old), None).await.unwrap().unwrap();
    assert_eq!(drain(get).await.unwrap(), old);
    assert_eq!(format(&test_dir), "artifact-store-fs 1\n");
}
