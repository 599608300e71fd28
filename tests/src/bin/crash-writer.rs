//! A process that puts and deletes artifacts until it is killed, and prints what was acknowledged.
//!
//! `crash-writer URL FIRST`: artifacts are numbered from FIRST on. The lines on standard output are `ready`, `put N`
//! after put N is acknowledged, `deleting N` before a delete, and `deleted N` after it. A line is flushed before the
//! process does anything that depends on it. So whoever kills the process knows which artifacts must exist.
#![allow(clippy::print_stdout)] // A command-line program.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use artifact_store::prelude::*;
use artifact_store_core::BoxError;
use artifact_store_tests::corpus;

fn print_line(line: &str) -> Result<(), BoxError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: crash-writer URL FIRST")?;
    let first: u64 = arguments.next().ok_or("usage: crash-writer URL FIRST")?.parse()?;
    let config: Config = url.parse()?;
    let store = artifact_store::open(&config).await?;
    print_line("ready")?;
    let next = Arc::new(AtomicU64::new(first));
    let writers = (0..4).map(|_| {
        let (store, next) = (Arc::clone(&store), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                write_one(&*store, next.fetch_add(1, Ordering::SeqCst)).await?;
            }
            #[allow(unreachable_code)] // Gives the endless loop its type.
            Ok::<(), BoxError>(())
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer??;
    }
    Ok(())
}

async fn write_one(store: &dyn ArtifactStore, number: u64) -> Result<(), BoxError> {
    let scope = Scope::new("crash", "writer", format!("s-{}", number % 5))?;
    let bytes = corpus::artifact(number);
    let options = PutOptions { filename: Some(number.to_string()), ..PutOptions::default() };
    let body = if number.is_multiple_of(2) {
        Body::from_bytes(bytes)
    } else {
        let chunks: Vec<_> =
            bytes.chunks(50_000).map(|chunk| Ok::<_, BoxError>(bytes.slice_ref(chunk))).collect();
        Body::from_stream(futures_util::stream::iter(chunks))
    };
    let put = store.put(&scope, body, options).await?;
    print_line(&format!("put {number}"))?;
    if number % 7 == 3 {
        print_line(&format!("deleting {number}"))?;
        store.delete(&scope, &put.record.id).await?;
        print_line(&format!("deleted {number}"))?;
    }
    Ok(())
}
