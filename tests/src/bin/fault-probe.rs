//! Tests a store on a disk that is full or read-only. The fault tests run it inside a file system of its own.
//!
//! `fault-probe full|readonly DRIVER FOLDER`: FOLDER is a small file system that nothing else uses. The exit code is
//! 0 if the store keeps the contract. Otherwise the reason is on standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use artifact_store::prelude::*;
use artifact_store_core::BoxError;
use artifact_store_tests::{corpus, matrix_rows};
use bytes::Bytes;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, driver, folder] = arguments.as_slice() else {
        eprintln!("usage: fault-probe full|readonly DRIVER FOLDER");
        return ExitCode::from(2);
    };
    let url = format!("{driver}:{folder}/store");
    let result = match scenario.as_str() {
        "full" => full(&url, Path::new(folder)).await,
        "readonly" => readonly(&url, Path::new(folder)).await,
        _ => Err("unknown scenario: expected `full` or `readonly`".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{scenario} {driver}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn scope() -> Result<Scope, StoreError> {
    Scope::new("acme", "ada", "s")
}

async fn open(url: &str) -> Result<Arc<dyn ArtifactStore>, BoxError> {
    let config: Config = url.parse()?;
    Ok(artifact_store::open(&config).await?)
}

async fn put(
    store: &dyn ArtifactStore,
    number: u64,
    length: usize,
) -> Result<(ArtifactId, Bytes), StoreError> {
    let bytes = corpus::bytes(number, length);
    let put = store.put_bytes(&scope()?, bytes.clone(), PutOptions::default()).await?;
    Ok((put.record.id, bytes))
}

/// Checks that every acknowledged artifact exists with equal bytes, and that nothing else is listed.
async fn verify_artifacts(store: &dyn ArtifactStore, kept: &[(ArtifactId, Bytes)]) -> Result<(), BoxError> {
    for (id, bytes) in kept {
        if store.get_bytes(&scope()?, id, u64::MAX).await?.as_ref() != Some(bytes) {
            return Err(format!("the acknowledged {id} is gone or altered").into());
        }
    }
    let query = ListQuery::new(ScopePattern::all_tenants()).with_limit(1000).with_total();
    let total = store.list(&query).await?.total.unwrap_or_default();
    if total != kept.len() as u64 {
        return Err(format!("{total} artifacts are listed, but {} were acknowledged", kept.len()).into());
    }
    Ok(())
}

async fn wait_until_no_residue(url: &str) -> Result<(), BoxError> {
    let mut left = Vec::new();
    for _ in 0..50 {
        left = matrix_rows::residue(url).await?;
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err(format!("orphans are left: {left:?}").into())
}

/// Checks that the error is `Unavailable`, which a retry may solve, and that its message names the missing space.
fn expect_out_of_space<T>(result: Result<T, StoreError>) -> Result<(), BoxError> {
    match result {
        Ok(_) => Err("a put on a full disk succeeded".into()),
        Err(error) if error.kind() == ErrorKind::Unavailable && error.to_string().contains("space") => Ok(()),
        Err(error) => Err(format!("a full disk causes {:?}: {error}", error.kind()).into()),
    }
}

async fn full(url: &str, folder: &Path) -> Result<(), BoxError> {
    // A file that an operator would delete later to free space.
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 3 << 20])?;
    let store = open(url).await?;
    let mut kept = vec![put(&*store, 1, 1000).await?, put(&*store, 2, 300_000).await?];

    // A stream that is larger than the disk fails in the middle.
    let stream = Body::from_stream(corpus::chunk_stream(3, 1024));
    expect_out_of_space(store.put(&scope()?, stream, PutOptions::default()).await)?;
    verify_artifacts(&*store, &kept).await?;

    // Puts small artifacts until no more fit.
    for number in 100.. {
        match put(&*store, number, 100_000).await {
            Ok(artifact) => kept.push(artifact),
            result => {
                expect_out_of_space(result)?;
                break;
            }
        }
    }
    if kept.len() < 4 {
        return Err("no artifact fitted on the disk, so this proves nothing".into());
    }
    verify_artifacts(&*store, &kept).await?;

    // Space is free again. The store works without a restart and deletes what it could not delete on a full disk,
    // because a database needs space even to delete. A store that is opened again works too.
    std::fs::remove_file(&ballast)?;
    kept.push(put(&*store, 4, 100_000).await?);
    verify_artifacts(&*store, &kept).await?;
    wait_until_no_residue(url).await?;
    store.close().await?;
    let store = open(url).await?;
    verify_artifacts(&*store, &kept).await?;
    wait_until_no_residue(url).await?;
    store.close().await?;
    println!("{} artifacts kept through a full disk", kept.len());
    Ok(())
}

fn remount(folder: &Path, mode: &str) -> Result<(), BoxError> {
    let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(folder).status()?;
    if status.success() { Ok(()) } else { Err(format!("mount -o remount,{mode} failed").into()) }
}

async fn readonly(url: &str, folder: &Path) -> Result<(), BoxError> {
    // A store that cannot be created.
    remount(folder, "ro")?;
    expect_read_only_error(open(url).await.err(), "creating a store on a read-only file system")?;
    // A store that exists.
    remount(folder, "rw")?;
    let store = open(url).await?;
    let kept = vec![put(&*store, 1, 1000).await?, put(&*store, 2, 600_000).await?];
    store.close().await?;
    remount(folder, "ro")?;
    match open(url).await {
        Err(error) => expect_read_only_error(Some(error), "opening a store on a read-only file system")?,
        // If the store opens, it must read and refuse to write.
        Ok(store) => {
            verify_artifacts(&*store, &kept).await?;
            expect_read_only_error(
                put(&*store, 3, 10).await.err().map(Into::into),
                "putting on a read-only file system",
            )?;
            store.close().await?;
        }
    }
    remount(folder, "rw")?;
    let store = open(url).await?;
    verify_artifacts(&*store, &kept).await?;
    store.close().await?;
    Ok(())
}

/// Checks that the error has the kind `Backend` and that its message says "read-only".
fn expect_read_only_error(error: Option<BoxError>, what: &str) -> Result<(), BoxError> {
    let error = error.ok_or_else(|| format!("{what} succeeded"))?;
    let kind = error.downcast_ref::<StoreError>().map(StoreError::kind);
    if kind == Some(ErrorKind::Backend) && error.to_string().contains("read-only") {
        println!("{what}: {error}");
        Ok(())
    } else {
        Err(format!("{what} causes {kind:?}: {error}").into())
    }
}
