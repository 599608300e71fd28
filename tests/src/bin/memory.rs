//! Prints how much memory a store takes while tasks put and get large artifacts.
//!
//! `memory STORE MIB [TASKS]`, the store being a URL or the name of a flavour with a server: TASKS tasks (8) put an artifact of MIB mebibytes each as a stream, all at once, and then read
//! it back, all at once. Prints the resident set when idle and its peak (`VmRSS` and `VmHWM` of proc(5)); exit code 1 where
//! the peak is 64 MiB or more above idle, or an artifact came back as another.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program of the command line.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store::prelude::*;
use artifact_store_core::{BoxError, Hasher};
use artifact_store_tests::corpus;
use artifact_store_tests::place::Target;
use futures_util::TryStreamExt;

/// The most above idle, in KiB.
const BOUND: u64 = 64 * 1024;

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
    let target = Target::of(url);
    match run(url, &target.url, mib, tasks).await {
        Ok(fits) => ExitCode::from(u8::from(!fits)),
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A field of `/proc/self/status`, in KiB.
fn status(field: &str) -> Result<u64, BoxError> {
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
    // The first operations load code and open connections: that is idle, too.
    let warm = store.put_text(&scope, "warm", PutOptions::default()).await?;
    store.get_bytes(&scope, &warm.record.id, 10).await?;
    let idle = status("VmRSS")?;
    // Makes the peak start from here (proc(5), clear_refs).
    std::fs::write("/proc/self/clear_refs", "5")?;

    let pieces = mib * 1024 * 1024 / corpus::PIECE as u64;
    let (put, put_took) = together(tasks, |task| {
        let (store, scope) = (Arc::clone(&store), scope.clone());
        async move {
            let body = Body::from_stream(corpus::flow(task << 56, pieces));
            Ok(store.put(&scope, body, PutOptions::default()).await?.record)
        }
    })
    .await?;
    let put_peak = status("VmHWM")?;
    let (_, get_took) = together(tasks, |task| {
        let (store, record) = (Arc::clone(&store), put[usize::try_from(task).unwrap_or_default()].clone());
        async move {
            let get = store.get(&record.scope, &record.id, None).await?.ok_or("the artifact is gone")?;
            let mut stream = get.stream;
            let mut hasher = Hasher::new();
            while let Some(piece) = stream.try_next().await? {
                hasher.update(&piece);
            }
            if hasher.finish() == record.digest {
                Ok(())
            } else {
                Err(BoxError::from("other bytes came back"))
            }
        }
    })
    .await?;
    let peak = status("VmHWM")?;
    store.close().await?;

    let above = peak.saturating_sub(idle);
    let rate = |took: Duration| u128::from(tasks * mib) * 1000 / took.as_millis().max(1);
    println!(
        "{name}: {tasks} tasks × {mib} MiB: idle {:.1} MiB, peak while putting {:.1}, peak in all {:.1}: {:.1} MiB above idle \
         (bound {}); put {} MiB/s, get {} MiB/s",
        kib(idle),
        kib(put_peak),
        kib(peak),
        kib(above),
        BOUND / 1024,
        rate(put_took),
        rate(get_took)
    );
    Ok(above < BOUND)
}

#[allow(clippy::cast_precision_loss)] // For people.
fn kib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Runs a task for each number at once; their answers in order, and how long all of them took.
async fn together<T: Send + 'static, F>(
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
