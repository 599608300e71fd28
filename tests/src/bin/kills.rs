//! Kills a writing process at random moments and looks at what it left.
//!
//! `kills STORE ROUNDS`: each round starts `crash-writer` on the store (a URL, or the name of a flavour with a server), kills it with SIGKILL after a
//! random time, opens the store again and checks: every acknowledged put is there and equal, every acknowledged delete is
//! gone, whatever is listed is whole, and after a sweep no residue is left. Prints counts; exit code 1 where
//! anything was wrong.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program of the command line.

use std::collections::BTreeSet;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use artifact_store::prelude::*;
use artifact_store_core::{BoxError, Digest};
use artifact_store_tests::corpus;
use artifact_store_tests::place::Target;
use futures_util::TryStreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Numbers of one round's artifacts start at a multiple of this.
const ROUND: u64 = 1 << 20;

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

/// What a killed writer had said.
#[derive(Debug, Default)]
struct Said {
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
        eprintln!("kills: ROUNDS is a number");
        return ExitCode::from(2);
    };
    let name = url;
    match run(&Target::of(name), rounds).await {
        Ok(counts) => {
            println!(
                "{name}: {} kills, {} puts acknowledged, {} read back equal, {} deletes acknowledged and gone, {} more puts \
                 found whole, {} leftovers swept, {} faults",
                counts.kills,
                counts.acknowledged,
                counts.read_equal,
                counts.deleted,
                counts.unacknowledged_whole,
                counts.residue_before,
                counts.faults.len()
            );
            counts.faults.iter().take(20).for_each(|fault| println!("  {fault}"));
            if counts.faults.is_empty() && counts.kills == rounds {
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

async fn run(target: &Target, rounds: u64) -> Result<Counts, BoxError> {
    let url = &target.url;
    let mut counts = Counts::default();
    for round in 0..rounds {
        let said = write_and_kill(url, round).await?;
        counts.kills += 1;
        counts.residue_before += target.residue().await?.len();
        let config: Config = url.parse()?;
        let store = artifact_store::open(&config).await?;
        inspect(&store, round, &said, &mut counts).await?;
        store.close().await?;
        artifact_store::sweep(&config).await?;
        for left in target.residue().await? {
            counts.faults.push(format!("round {round}: the sweep left {left}"));
        }
    }
    Ok(counts)
}

/// One life of the writer.
async fn write_and_kill(url: &str, round: u64) -> Result<Said, BoxError> {
    let program = std::env::current_exe()?.with_file_name("crash-writer");
    let mut child = Command::new(program)
        .args([url, &(round * ROUND).to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().ok_or("the writer has no output")?;
    let mut lines = BufReader::new(out).lines();
    if lines.next_line().await?.as_deref() != Some("ready") {
        return Err("the writer did not come up".into());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.subsec_nanos();
    let moment = Duration::from_micros(corpus::choice(u64::from(now) ^ (round << 40), 150_000));
    // The pipe must be read meanwhile, or the writer would wait for it.
    let mut said = Said::default();
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
        // A line cut off by the kill was not an acknowledgement yet.
        if let Some((word, number)) = line.split_once(' ').and_then(|(w, n)| Some((w, n.parse().ok()?))) {
            let known = match word {
                "put" => &mut said.put,
                "deleting" => &mut said.deleting,
                "deleted" => &mut said.deleted,
                _ => continue,
            };
            known.insert(number);
        }
    }
    child.wait().await?;
    if killed { Ok(said) } else { Err("the writer ended before it was killed".into()) }
}

fn scope_of(number: u64) -> Result<Scope, StoreError> {
    Scope::new("crash", "writer", format!("s-{}", number % 5))
}

async fn inspect(
    store: &Arc<dyn ArtifactStore>,
    round: u64,
    said: &Said,
    counts: &mut Counts,
) -> Result<(), BoxError> {
    for number in &said.put {
        let bytes = corpus::artifact(*number);
        let id = ArtifactId::new(&Namespace::default(), &Digest::of(&bytes));
        let back = store.get_bytes(&scope_of(*number)?, &id, u64::MAX).await;
        // Another number may have the same few bytes, and a delete of it takes this one along: only sizes that are
        // unique in a round are held to the letter.
        let unique = bytes.len() > 10;
        match back {
            Ok(Some(back)) if back == bytes => {
                if said.deleted.contains(number) && unique {
                    counts.faults.push(format!("round {round}: {number} was deleted and is there"));
                }
                counts.read_equal += 1;
            }
            Ok(Some(_)) => counts.faults.push(format!("round {round}: {number} has other bytes")),
            Ok(None) if said.deleted.contains(number) => counts.deleted += 1,
            Ok(None) if said.deleting.contains(number) || !unique => {}
            Ok(None) => counts.faults.push(format!("round {round}: {number} was acknowledged and is gone")),
            Err(error) => counts.faults.push(format!("round {round}: {number}: {error}")),
        }
        counts.acknowledged += 1;
    }
    // Whatever is listed is whole: the gate compares length and digest while it is read.
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
            counts.faults.push(format!("round {round}: {number} is listed and not whole"));
        } else if number / ROUND == round && !said.put.contains(&number) {
            counts.unacknowledged_whole += 1;
        }
        // One in sixteen stays and is looked at in every later round; the others make room.
        if !number.is_multiple_of(16) {
            store.delete(&row.scope, &row.id).await?;
        }
    }
    Ok(())
}
