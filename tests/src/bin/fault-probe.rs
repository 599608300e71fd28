//! What a store does on a disk that is full or read-only. Run by the fault tests inside a file system of their own.
//!
//! `fault-probe full|readonly DRIVER FOLDER`: FOLDER is a small file system that nobody else uses. Exit code 0 where all
//! went as the contract says; otherwise the reason on standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program of the command line.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use artifact_store::prelude::*;
use artifact_store_core::BoxError;
use artifact_store_tests::{corpus, flavours};
use bytes::Bytes;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scene, driver, folder] = arguments.as_slice() else {
        eprintln!("usage: fault-probe full|readonly DRIVER FOLDER");
        return ExitCode::from(2);
    };
    let url = format!("{driver}:{folder}/store");
    let played = match scene.as_str() {
        "full" => full(&url, Path::new(folder)).await,
        "readonly" => readonly(&url, Path::new(folder)).await,
        _ => Err("the scene is full or readonly".into()),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{scene} {driver}: {error}");
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

/// Everything acknowledged is there and equal, nothing else is listed.
async fn all_there(store: &dyn ArtifactStore, kept: &[(ArtifactId, Bytes)]) -> Result<(), BoxError> {
    for (id, bytes) in kept {
        if store.get_bytes(&scope()?, id, u64::MAX).await?.as_ref() != Some(bytes) {
            return Err(format!("the acknowledged {id} is gone or altered").into());
        }
    }
    let query = ListQuery::new(ScopePattern::all_tenants()).with_limit(1000).with_total();
    let total = store.list(&query).await?.total.unwrap_or_default();
    if total != kept.len() as u64 {
        return Err(format!("{total} artifacts are listed where {} were acknowledged", kept.len()).into());
    }
    Ok(())
}

async fn no_residue(url: &str) -> Result<(), BoxError> {
    let mut left = Vec::new();
    for _ in 0..50 {
        left = flavours::residue(url).await?;
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err(format!("residue is left: {left:?}").into())
}

/// The error is typed as one that may pass, and says that space is what lacks.
fn for_want_of_space<T>(result: Result<T, StoreError>) -> Result<(), BoxError> {
    match result {
        Ok(_) => Err("a put on a full disk succeeded".into()),
        Err(error) if error.kind() == ErrorKind::Unavailable && error.to_string().contains("space") => Ok(()),
        Err(error) => Err(format!("a full disk shows as {:?}: {error}", error.kind()).into()),
    }
}

async fn full(url: &str, folder: &Path) -> Result<(), BoxError> {
    // What an operator would remove later to make room.
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 3 << 20])?;
    let store = open(url).await?;
    let mut kept = vec![put(&*store, 1, 1000).await?, put(&*store, 2, 300_000).await?];

    // A stream that is larger than the disk ends in the middle.
    let stream = Body::from_stream(corpus::flow(3, 1024));
    for_want_of_space(store.put(&scope()?, stream, PutOptions::default()).await)?;
    all_there(&*store, &kept).await?;

    // Small artifacts until no more fit.
    for number in 100.. {
        match put(&*store, number, 100_000).await {
            Ok(one) => kept.push(one),
            full => {
                for_want_of_space(full)?;
                break;
            }
        }
    }
    if kept.len() < 4 {
        return Err("nothing fitted on the disk; the test is void".into());
    }
    all_there(&*store, &kept).await?;

    // Room again: the store goes on without a restart, clears away what it could not on a full disk (a database needs room
    // even to delete), and so does one that is opened anew.
    std::fs::remove_file(&ballast)?;
    kept.push(put(&*store, 4, 100_000).await?);
    all_there(&*store, &kept).await?;
    no_residue(url).await?;
    store.close().await?;
    let store = open(url).await?;
    all_there(&*store, &kept).await?;
    no_residue(url).await?;
    store.close().await?;
    println!("{} artifacts kept through a full disk", kept.len());
    Ok(())
}

fn remount(folder: &Path, how: &str) -> Result<(), BoxError> {
    let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(folder).status()?;
    if status.success() { Ok(()) } else { Err(format!("mount -o remount,{how} failed").into()) }
}

async fn readonly(url: &str, folder: &Path) -> Result<(), BoxError> {
    // A place that cannot be made.
    remount(folder, "ro")?;
    typed(open(url).await.err(), "making a store on a read-only file system")?;
    // One that stands.
    remount(folder, "rw")?;
    let store = open(url).await?;
    let kept = vec![put(&*store, 1, 1000).await?, put(&*store, 2, 600_000).await?];
    store.close().await?;
    remount(folder, "ro")?;
    match open(url).await {
        Err(error) => typed(Some(error), "opening a store on a read-only file system")?,
        // A store that opens for reading must read, and refuse to write.
        Ok(store) => {
            all_there(&*store, &kept).await?;
            typed(put(&*store, 3, 10).await.err().map(Into::into), "putting on a read-only file system")?;
            store.close().await?;
        }
    }
    remount(folder, "rw")?;
    let store = open(url).await?;
    all_there(&*store, &kept).await?;
    store.close().await?;
    Ok(())
}

/// The error is the storage's and says what to do.
fn typed(error: Option<BoxError>, what: &str) -> Result<(), BoxError> {
    let error = error.ok_or_else(|| format!("{what} succeeded"))?;
    let kind = error.downcast_ref::<StoreError>().map(StoreError::kind);
    if kind == Some(ErrorKind::Backend) && error.to_string().contains("read-only") {
        println!("{what}: {error}");
        Ok(())
    } else {
        Err(format!("{what} shows as {kind:?}: {error}").into())
    }
}
