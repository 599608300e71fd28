//! Kills a writing process at random moments and checks what it left.
//!
//! `kills STORE ROUNDS`: STORE is a URL, or the name of a flavour with a server. Each round starts `crash-writer` on
//! the store, kills it with SIGKILL after a random time, opens the store again and checks: every acknowledged put
//! exists with equal bytes, every acknowledged delete is gone, everything listed is whole, and no orphan is left
//! after a sweep. Prints counts. The exit code is 1 if anything was wrong.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.

use std::collections::BTreeSet;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use artifact_store::prelude::*;
use artifact_store_core::{BoxError, Digest};
use artifact_store_tests::corpus;
use artifact_store_tests::flavour::StoreTarget;
use futures_util::TryStreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The numbers of a round's artifacts start at a multiple of this.
const NUMBERS_PER_ROUND: u64 = 1 << 20;

#[derive(Debug, Default)]
struct Counts {
    kills: u64,
    acknowledged: u64,
    read_equal: u64,
    deleted: u64,
    unacknowledged_whole: u64,
    residue_before: usize,
    faults: Vec<String>,
}

/// What a writer printed before it was killed.
#[derive(Debug, Default)]
struct WriterLog {
    put: BTreeSet<u64>,
    deleting: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, rounds] = arguments.as_slice() else {
        eprintln!("usage: kills STORE ROUNDS");
        return ExitCode::from(2);
    };
    let Ok(rounds) = rounds.parse() else {
        eprintln!("kills: ROUNDS must be a number");
        return ExitCode::from(2);
    };
    let name = url;
    match run(&StoreTarget::from_argument(name), rounds).await {
        Ok(counts) => {
            println!(
                "{name}: {} kills, {} puts acknowledged, {} read back equal, {} deletes acknowledged and \
                 gone, {} more puts found whole, {} orphans swept, {} faults",
                counts.kills,
                counts.acknowledged,
                counts.read_equal,
                counts.deleted,
                counts.unacknowledged_whole,
                counts.residue_before,
                counts.faults.len()
            );
            counts.faults.iter().take(20).for_each(|fault| println!("  {fault}"));
            if counts.acknowledged == 0 {
                println!("  no put was acknowledged, so this proves nothing");
            }
            if counts.faults.is_empty() && counts.kills == rounds && counts.acknowledged > 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("kills: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(target: &StoreTarget, rounds: u64) -> Result<Counts, BoxError> {
    let url = &target.url;
    let mut counts = Counts::default();
    for round in 0..rounds {
        let log = write_and_kill(url, round).await?;
        counts.kills += 1;
        counts.residue_before += target.residue().await?.len();
        let config: Config = url.parse()?;
        let store = artifact_store::open(&config).await?;
        inspect(&store, round, &log, &mut counts).await?;
        store.close().await?;
        let config: Config = target.sweep_url.parse()?;
        artifact_store::sweep(&config, artifact_store::SweepMode::Delete).await?;
        for left in target.residue().await? {
            counts.faults.push(format!("round {round}: the sweep left {left}"));
        }
    }
    Ok(counts)
}

/// Starts the writer and kills it after a random time.
async fn write_and_kill(url: &str, round: u64) -> Result<WriterLog, BoxError> {
    let program = std::env::current_exe()?.with_file_name("crash-writer");
    let mut child = Command::new(program)
        .args([url, &(round * NUMBERS_PER_ROUND).to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().ok_or("the writer's standard output is not captured")?;
    let mut lines = BufReader::new(out).lines();
    if lines.next_line().await?.as_deref() != Some("ready") {
        return Err("the writer did not start".into());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.subsec_nanos();
    let moment = Duration::from_micros(corpus::choice(u64::from(now) ^ (round << 40), 150_000));
    // The pipe must be read meanwhile, or the writer would block on it.
    let mut log = WriterLog::default();
    let deadline = tokio::time::sleep(moment);
    tokio::pin!(deadline);
    let mut killed = false;
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            () = &mut deadline, if !killed => {
                child.start_kill()?;
                killed = true;
                continue;
            }
        };
        let Some(line) = line else { break };
        // A line that the kill cut off is not an acknowledgement.
        if let Some((word, number)) = line.split_once(' ').and_then(|(w, n)| Some((w, n.parse().ok()?))) {
            let numbers = match word {
                "put" => &mut log.put,
                "deleting" => &mut log.deleting,
                "deleted" => &mut log.deleted,
                _ => continue,
            };
            numbers.insert(number);
        }
    }
    child.wait().await?;
    if killed { Ok(log) } else { Err("the writer ended before it was killed".into()) }
}

fn scope_of(number: u64) -> Result<Scope, StoreError> {
    Scope::new("crash", "writer", format!("s-{}", number % 5))
}

async fn inspect(
    store: &Arc<dyn ArtifactStore>,
    round: u64,
    log: &WriterLog,
    counts: &mut Counts,
) -> Result<(), BoxError> {
    for number in &log.put {
        let bytes = corpus::artifact(*number);
        let id = ArtifactId::new(&Namespace::default(), &Digest::of(&bytes));
        let back = store.get_bytes(&scope_of(*number)?, &id, u64::MAX).await;
        // Two numbers may share the same few bytes, and a delete of one deletes the other. So only sizes that are
        // unique in a round are checked strictly.
        let unique = bytes.len() > 10;
        match back {
            Ok(Some(back)) if back == bytes => {
                if log.deleted.contains(number) && unique {
                    counts.faults.push(format!("round {round}: {number} was deleted but exists"));
                }
                counts.read_equal += 1;
            }
            Ok(Some(_)) => counts.faults.push(format!("round {round}: {number} has other bytes")),
            Ok(None) if log.deleted.contains(number) => counts.deleted += 1,
            Ok(None) if log.deleting.contains(number) || !unique => {}
            Ok(None) => counts.faults.push(format!("round {round}: {number} was acknowledged but is gone")),
            Err(error) => counts.faults.push(format!("round {round}: {number}: {error}")),
        }
        counts.acknowledged += 1;
    }
    // Everything listed is whole: the gate compares length and digest while the bytes are read.
    let tenant = ScopePattern::tenant(ScopePart::new("crash")?);
    let rows: Vec<Record> = store.list_all(ListQuery::new(tenant).with_limit(1000)).try_collect().await?;
    for row in rows {
        let number: u64 = row.options.filename.as_deref().unwrap_or_default().parse()?;
        let whole = match store.get_bytes(&row.scope, &row.id, u64::MAX).await {
            Ok(Some(bytes)) => bytes == corpus::artifact(number),
            Ok(None) => false,
            Err(error) => {
                counts.faults.push(format!("round {round}: listed {number}: {error}"));
                continue;
            }
        };
        if !whole {
            counts.faults.push(format!("round {round}: {number} is listed but not whole"));
        } else if number / NUMBERS_PER_ROUND == round && !log.put.contains(&number) {
            counts.unacknowledged_whole += 1;
        }
        // One artifact in 16 is kept and checked again in every later round. The others are deleted to free space.
        if !number.is_multiple_of(16) {
            store.delete(&row.scope, &row.id).await?;
        }
    }
    Ok(())
}
