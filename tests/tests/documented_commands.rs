//! The commands of the pages for users of the library and for backups, run as they are printed, with other paths.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use artifact_store::prelude::*;
use artifact_store_backends::Postgres;
use tempfile::TempDir;

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// The code block of `page` that contains `text`.
fn code_block(page_name: &str, text: &str) -> String {
    let page = page(page_name);
    let mut blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .find(|block| block.contains(text))
        .unwrap_or_else(|| panic!("no `{text}` in {page_name}"))
        .to_owned()
}

/// Runs commands in a shell in `dir` and returns their output. Every command must succeed.
#[track_caller]
fn run_shell(dir: &Path, commands: &str) -> String {
    let output = Command::new("sh").args(["-euc", commands]).current_dir(dir).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{commands}\n{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

/// The program of `crates/artifact-store/examples/NAME.rs`, which is built with the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.is_file(), "no {}: build with --all-targets", path.display());
    path
}

#[test]
fn the_lines_of_the_start_page_print_what_the_page_explains() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("Cargo.lock"), [b'a'; 2100]).unwrap();
    let commands = code_block("docs/start.md", "--example embed");
    let program = example("embed");
    let commands = commands.replace("cargo run --release --example embed --", program.to_str().unwrap());
    let output = run_shell(dir.path(), &commands);
    let start = page("docs/start.md");
    let explained: Vec<_> = start
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(label, _)| label)
        .collect();
    assert_eq!(explained, ["open", "put", "ref", "digest", "get", "range", "list", "delete"]);
    for label in explained {
        // Once for each of the three storages.
        let count = output.lines().filter(|line| line.split(' ').next() == Some(label)).count();
        assert_eq!(count, 3, "{label}\n{output}");
    }
    assert!(dir.path().join("artifacts/FORMAT").is_file() && dir.path().join("artifacts.db").is_file());
}

#[test]
fn the_runtime_of_the_embed_page_stores_reads_and_deletes_on_every_embedded_driver() {
    let dir = TempDir::new().unwrap();
    let printed = code_block("docs/embed.md", "--example runtime");
    let (_, arguments) = printed.split_once("--example runtime -- ").unwrap();
    for url in ["inmem:", "fs:artifacts", arguments.trim()] {
        let stdout = run_shell(dir.path(), &format!("{} {url}", example("runtime").display()));
        let words: Vec<_> = stdout.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(words, ["ref", "lines", "preview", "download", "delete"], "{url}\n{stdout}");
        assert!(stdout.contains("lines    100000 with 404"), "{url}\n{stdout}");
        assert!(stdout.contains("download 2200000 bytes to runtime.log"), "{url}\n{stdout}");
        assert_eq!(fs::metadata(dir.path().join("runtime.log")).unwrap().len(), 2_200_000);
        assert!(stdout.contains("of 2200000 bytes: true"), "{url}\n{stdout}");
    }
}

fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

async fn open(url: &str) -> Arc<dyn ArtifactStore> {
    artifact_store::open(&url.parse().unwrap()).await.unwrap()
}

/// Puts two artifacts, runs `back_up` while the store is open, deletes one, and closes the store. Returns the ids.
async fn put_and_back_up(url: &str, back_up: impl FnOnce()) -> [ArtifactId; 2] {
    let store = open(url).await;
    let small = store.put(&scope(), Body::from("small"), PutOptions::default()).await.unwrap();
    let large = store.put(&scope(), Body::from(vec![7; 3 << 20]), PutOptions::default()).await.unwrap();
    back_up();
    let ids = [small.record.id, large.record.id];
    assert!(store.delete(&scope(), &ids[0]).await.unwrap());
    store.close().await.unwrap();
    ids
}

/// Both artifacts are in the store, whole.
async fn assert_restored(url: &str, ids: &[ArtifactId; 2]) {
    let store = open(url).await;
    let small = store.get_bytes(&scope(), &ids[0], 100).await.unwrap();
    assert_eq!(small.as_deref(), Some(&b"small"[..]), "{url}");
    let large = store.get_bytes(&scope(), &ids[1], u64::MAX).await.unwrap();
    assert_eq!(large.map(|bytes| bytes.len()), Some(3 << 20), "{url}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_command_for_fs_copies_an_open_store() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("backup")).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let commands = code_block("docs/drivers.md", "cp -a")
        .replace("/var/lib/artifacts", &path("artifacts"))
        .replace("/backup/", &path("backup/"));
    let ids = put_and_back_up(&format!("fs:{}", path("artifacts")), || {
        run_shell(dir.path(), &commands);
    })
    .await;
    assert_restored(&format!("fs:{}", path("backup/artifacts")), &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_command_for_sqlite_copies_an_open_store() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("backup")).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let commands = code_block("docs/drivers.md", "VACUUM INTO")
        .replace("/var/lib/", &path(""))
        .replace("/backup/artifacts.db", &path("backup/artifacts.db"));
    let ids = put_and_back_up(&format!("sqlite:{}", path("artifacts.db")), || {
        run_shell(dir.path(), &commands);
    })
    .await;
    assert_restored(&format!("sqlite:{}", path("backup/artifacts.db")), &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_command_for_postgres_copies_an_open_store() {
    let command = "pg_dump --schema=artifact_store";
    assert!(page("docs/drivers.md").contains(&format!("`{command}`")), "docs/drivers.md lacks `{command}`");
    let dir = TempDir::new().unwrap();
    let server = Postgres::shared().await.unwrap();
    let schema = format!("backup_{}", std::process::id());
    let command = command.replace("artifact_store", &schema);
    let url = format!("{}?schema={schema}", server.url());
    let ids = put_and_back_up(&url, || {
        run_shell(dir.path(), &format!("{command} '{}' > dump.sql", server.url()));
    })
    .await;
    let psql = format!("psql -v ON_ERROR_STOP=1 -Xq '{}'", server.url());
    run_shell(dir.path(), &format!("{psql} -c 'DROP SCHEMA {schema} CASCADE'; {psql} -f dump.sql"));
    assert_restored(&url, &ids).await;
    run_shell(dir.path(), &format!("{psql} -c 'DROP SCHEMA {schema} CASCADE'"));
}
