//! A process that is killed at any moment leaves whole artifacts and nothing else.

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use artifact_store_core::{ArtifactStore, ArtifactStoreExt, Body, ListQuery, PutOptions, ScopePattern};
use artifact_store_sqlite::{SqliteConfig, SqliteStore};
use futures_util::TryStreamExt;
use support::{Home, MIB, bytes, flowing, gated, read, scope};

const PATH: &str = "ARTIFACT_STORE_SQLITE_KILLED";

/// The process that is killed: it does nothing unless the test below has started it.
#[test]
fn the_victim() {
    let Ok(path) = std::env::var(PATH) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(SqliteConfig::file(path)).await.unwrap();
        let start = u64::from(std::process::id()) << 20;
        for n in start.. {
            let body = bytes(n, if n % 3 == 0 { 5 * MIB } else { 1000 });
            let body = if n % 2 == 0 { flowing(&body) } else { Body::from_bytes(body) };
            let put = store.put(&scope(), body, PutOptions::default()).await.unwrap();
            // One write each, so that the reader sees whole lines but for the last.
            std::io::stderr().write_all(format!("put {}\n", put.record.id).as_bytes()).unwrap();
            if n % 4 == 0 {
                std::io::stderr().write_all(format!("try {}\n", put.record.id).as_bytes()).unwrap();
                assert!(store.delete(&scope(), &put.record.id).await.unwrap());
                std::io::stderr().write_all(format!("del {}\n", put.record.id).as_bytes()).unwrap();
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_stands_and_nothing_else_does() {
    let home = Home::new();
    let mut acknowledged = 0;
    for round in 0..12_u64 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_victim", "--nocapture"])
            .env(PATH, home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = victim.stderr.take().unwrap();
        tokio::time::sleep(Duration::from_millis(120 + 37 * round)).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines: Vec<(&str, &str)> = whole.lines().filter_map(|line| line.split_once(' ')).collect();

        let store = gated(SqliteStore::open(home.config()).await.unwrap());
        assert_eq!(home.residue().await, Vec::<String>::new(), "round {round}");
        for (word, id) in &lines {
            let stands = store.exists(&scope(), &id.parse().unwrap()).await.unwrap();
            let tried = lines.contains(&("try", id));
            match *word {
                "put" => assert!(stands || tried, "round {round}: {id} was acknowledged"),
                "del" => assert!(!stands, "round {round}: {id} was deleted"),
                "try" => {}
                other => panic!("the victim said {other} {id}: {text}"),
            }
            acknowledged += 1;
        }
        let query = ListQuery::new(ScopePattern::all_tenants());
        let rows: Vec<_> = store.list_all(query).try_collect().await.unwrap();
        for row in &rows {
            assert!(read(&*store, row).await.unwrap().is_some(), "round {round}: a listed artifact is whole");
        }
        store.close().await.unwrap();
    }
    assert!(acknowledged > 20, "the victims hardly did anything");
}
