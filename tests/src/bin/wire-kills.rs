//! Kills a server at random moments and checks through the wire what it left.
//!
//! `wire-kills FLAVOUR KILLS` (any flavour but inmem): in each round clients upload concurrently, some through
//! `artifacts.put` and some through the byte plane. The server is killed with SIGKILL after a random time and started
//! again on the same data. Then the program checks: every acknowledged upload reads back equal, everything listed is
//! whole, and no orphan is left after a sweep. Prints counts. The exit code is 1 if anything was wrong.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store::Config;
use artifact_store_core::BoxError;
use artifact_store_tests::corpus;
use artifact_store_tests::flavour::ServerBackend;
use artifact_store_tests::wire::{Flavour, Identity, Server, ServerOptions, base64, control, put};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The numbers of a round's artifacts start at a multiple of this.
const NUMBERS_PER_ROUND: u64 = 1 << 20;
const CLIENTS: u64 = 4;

#[derive(Debug, Default)]
struct Counts {
    kills: u64,
    acknowledged: u64,
    cut_off: u64,
    read_equal: u64,
    unacknowledged_whole: u64,
    residue_before: usize,
    faults: Vec<String>,
}

/// What the clients of a round received.
#[derive(Debug, Default)]
struct UploadLog {
    /// Number and id of each acknowledged artifact.
    stored: Vec<(u64, String)>,
    cut_off: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match arguments.as_slice() {
        [flavour, kills] => flavour
            .parse::<Flavour>()
            .ok()
            .filter(|flavour| *flavour != Flavour::Inmem)
            .zip(kills.parse::<u64>().ok()),
        _ => None,
    };
    let Some((flavour, kills)) = parsed else {
        eprintln!("usage: wire-kills FLAVOUR KILLS");
        return ExitCode::from(2);
    };
    match run(flavour, kills) {
        Ok(counts) => {
            println!(
                "{flavour}: {} kills of the server, {} uploads acknowledged, {} cut off, {} read back \
                 equal, {} more found whole, {} orphans swept, {} faults",
                counts.kills,
                counts.acknowledged,
                counts.cut_off,
                counts.read_equal,
                counts.unacknowledged_whole,
                counts.residue_before,
                counts.faults.len()
            );
            counts.faults.iter().take(20).for_each(|fault| println!("  {fault}"));
            if counts.acknowledged == 0 {
                println!("  no upload was acknowledged, so this proves nothing");
            }
            let proves = counts.acknowledged > 0 && counts.kills == kills;
            ExitCode::from(u8::from(!counts.faults.is_empty() || !proves))
        }
        Err(error) => {
            eprintln!("wire-kills: {error}");
            ExitCode::FAILURE
        }
    }
}

fn identity_of(number: u64) -> Identity {
    Identity::new("crash", "writer", &format!("s-{}", number % 5))
}

fn run(flavour: Flavour, kills: u64) -> Result<Counts, BoxError> {
    let runtime = Runtime::new()?;
    let mut counts = Counts::default();
    let mut server = Server::start(flavour, &ServerOptions::new());
    let url = server.backend().map_or_else(|| server.url(), ServerBackend::sweep_url);
    let config: Config = url.parse()?;
    for round in 0..kills {
        let log = upload_and_kill(&mut server, round)?;
        counts.kills += 1;
        counts.cut_off += log.cut_off;
        counts.residue_before += server.residue().len();
        server.restart();
        inspect(&server, round, &log, &mut counts)?;
        // The sweep needs the store for itself.
        server.kill();
        runtime.block_on(artifact_store::sweep(&config, artifact_store::SweepMode::Delete))?;
        for left in server.residue() {
            counts.faults.push(format!("round {round}: the sweep left {left}"));
        }
        server.restart();
    }
    Ok(counts)
}

/// Uploads to the server, and kills it after a random time.
fn upload_and_kill(server: &mut Server, round: u64) -> Result<UploadLog, BoxError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
    let moment = Duration::from_micros(corpus::choice(u64::from(now) ^ (round << 40), 150_000));
    let (addr, next) = (server.addr(), AtomicU64::new(round * NUMBERS_PER_ROUND));
    let client = || {
        let mut log = UploadLog::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (bytes, identity) = (corpus::artifact(number), identity_of(number));
            let request = if number.is_multiple_of(2) {
                put(&format!("?filename={number}"), bytes.to_vec()).identity(&identity)
            } else {
                let body = json!({"bytes": base64(&bytes), "opts": {"filename": number.to_string()}});
                control("artifacts.put", &body).identity(&identity)
            };
            // A response that was cut off is not an acknowledgement.
            match request.try_send(addr).filter(|response| response.complete) {
                Some(response) if matches!(response.status, 200 | 201) => {
                    let id = response.json()["ref"]["id"].as_str().unwrap_or_default().to_owned();
                    log.stored.push((number, id));
                }
                _ => {
                    log.cut_off += 1;
                    return log;
                }
            }
        }
    };
    let logs = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        thread::sleep(moment);
        server.kill();
        clients.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut all = UploadLog::default();
    for client_log in logs {
        let client_log = client_log.map_err(|_| "a client panicked")?;
        all.stored.extend(client_log.stored);
        all.cut_off += client_log.cut_off;
    }
    Ok(all)
}

fn inspect(server: &Server, round: u64, log: &UploadLog, counts: &mut Counts) -> Result<(), BoxError> {
    for (number, id) in &log.stored {
        let back = server.download(&identity_of(*number), id);
        counts.acknowledged += 1;
        if back.status == 200 && back.complete && back.body == corpus::artifact(*number) {
            counts.read_equal += 1;
        } else {
            counts
                .faults
                .push(format!("round {round}: {number} was acknowledged but reads back as {back:?}"));
        }
    }
    let operator = Identity::new("crash", "operator", "s").with_admin();
    let mut rows: Vec<Value> = Vec::new();
    let mut query = json!({"scope": {"tenant": "crash"}, "limit": 1000});
    loop {
        let page = server.call(&operator, "artifacts.list", &query).expect_json(200);
        rows.extend(page["rows"].as_array().into_iter().flatten().cloned());
        match page.get("next_cursor") {
            Some(cursor) => query["cursor"] = cursor.clone(),
            None => break,
        }
    }
    for row in rows {
        let row = &row["ref"];
        let number: u64 = row["filename"].as_str().unwrap_or_default().parse()?;
        let id = row["id"].as_str().unwrap_or_default();
        let back = server.download(&identity_of(number), id);
        if back.status != 200 || !back.complete || back.body != corpus::artifact(number) {
            counts.faults.push(format!("round {round}: {number} is listed but not whole: {back:?}"));
        } else if number / NUMBERS_PER_ROUND == round
            && !log.stored.iter().any(|(stored, _)| *stored == number)
        {
            counts.unacknowledged_whole += 1;
        }
        // One artifact in 16 is kept and checked again in every later round. The others are deleted to free space.
        if !number.is_multiple_of(16) {
            server
                .call(&operator, "artifacts.delete", &json!({"scope": row["scope"], "id": id}))
                .expect_json(200);
        }
    }
    Ok(())
}
