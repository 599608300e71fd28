//! Prints how much memory a store takes while tasks put and get large artifacts.
//!
//! `memory STORE MIB [TASKS]`: STORE is a URL, or the name of a flavour with a server. TASKS tasks (default: 8)
//! concurrently put one artifact of MIB mebibytes each as a stream, and then concurrently read it back. Prints the
//! resident set when idle and its peak (`VmRSS` and `VmHWM` of proc(5)). The exit code is 1 if the peak is 64 MiB or
//! more above idle, or if an artifact came back with other bytes.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store::prelude::*;
use artifact_store_core::{BoxError, Hasher};
use artifact_store_tests::corpus;
use artifact_store_tests::flavour::StoreTarget;
use futures_util::TryStreamExt;

/// The largest allowed peak above idle, in KiB.
const LIMIT_KIB: u64 = 64 * 1024;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match arguments.as_slice() {
        [url, mib] => mib.parse().ok().map(|mib| (url, mib, 8)),
        [url, mib, tasks] => mib.parse().ok().zip(tasks.parse().ok()).map(|(mib, tasks)| (url, mib, tasks)),
        _ => None,
    };
    let Some((url, mib, tasks)) = parsed else {
        eprintln!("usage: memory STORE MIB [TASKS]");
        return ExitCode::from(2);
    };
    let target = StoreTarget::from_argument(url);
    match run(url, &target.url, mib, tasks).await {
        Ok(fits) => ExitCode::from(u8::from(!fits)),
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a field of `/proc/self/status`, in KiB.
fn proc_status_kib(field: &str) -> Result<u64, BoxError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or("no such field in /proc/self/status")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?)
}

async fn run(name: &str, url: &str, mib: u64, tasks: u64) -> Result<bool, BoxError> {
    let config: Config = url.parse()?;
    let store = artifact_store::open(&config).await?;
    let scope = Scope::new("memory", "program", "s")?;
    // The first operations load code and open connections. That counts as idle too.
    let warm = store.put_text(&scope, "warm", PutOptions::default()).await?;
    store.get_bytes(&scope, &warm.record.id, 10).await?;
    let idle = proc_status_kib("VmRSS")?;
    // Resets the peak to the current value (proc(5), clear_refs).
    std::fs::write("/proc/self/clear_refs", "5")?;

    let chunks = mib * 1024 * 1024 / corpus::CHUNK_BYTES as u64;
    let (put, put_took) = run_concurrently(tasks, |task| {
        let (store, scope) = (Arc::clone(&store), scope.clone());
        async move {
            let body = Body::from_stream(corpus::chunk_stream(task << 56, chunks));
            Ok(store.put(&scope, body, PutOptions::default()).await?.record)
        }
    })
    .await?;
    let put_peak = proc_status_kib("VmHWM")?;
    let (_, get_took) = run_concurrently(tasks, |task| {
        let (store, record) = (Arc::clone(&store), put[usize::try_from(task).unwrap_or_default()].clone());
        async move {
            let get = store.get(&record.scope, &record.id, None).await?.ok_or("the artifact is gone")?;
            let mut stream = get.stream;
            let mut hasher = Hasher::new();
            while let Some(chunk) = stream.try_next().await? {
                hasher.update(&chunk);
            }
            if hasher.finish() == record.digest {
                Ok(())
            } else {
                Err(BoxError::from("the bytes that came back differ"))
            }
        }
    })
    .await?;
    let peak = proc_status_kib("VmHWM")?;
    store.close().await?;

    let above = peak.saturating_sub(idle);
    let rate = |took: Duration| u128::from(tasks * mib) * 1000 / took.as_millis().max(1);
    println!(
        "{name}: {tasks} tasks × {mib} MiB: idle {:.1} MiB, peak while putting {:.1}, overall peak {:.1}: \
         {:.1} MiB above idle (limit {}); put {} MiB/s, get {} MiB/s",
        to_mib(idle),
        to_mib(put_peak),
        to_mib(peak),
        to_mib(above),
        LIMIT_KIB / 1024,
        rate(put_took),
        rate(get_took)
    );
    Ok(above < LIMIT_KIB)
}

#[allow(clippy::cast_precision_loss)] // For display only.
fn to_mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Runs one task for each number concurrently. Returns their results in order, and how long all of them took.
async fn run_concurrently<T: Send + 'static, F>(
    tasks: u64,
    make: impl Fn(u64) -> F,
) -> Result<(Vec<T>, Duration), BoxError>
where
    F: Future<Output = Result<T, BoxError>> + Send + 'static,
{
    let begun = Instant::now();
    let running: Vec<_> = (0..tasks).map(|task| tokio::spawn(make(task))).collect();
    let mut answers = Vec::new();
    for task in running {
        answers.push(task.await??);
    }
    Ok((answers, begun.elapsed()))
}
