//! Kills a serving process at random moments and looks through the wire at what it left.
//!
//! `wire-kills FLAVOUR KILLS` (any but inmem): each round lets clients upload at once, some through `artifacts.put` and some through
//! the byte plane, kills the server with SIGKILL after a random time, starts it again on the same data and checks: every
//! acknowledged upload reads back equal, whatever is listed is whole, and after a sweep no residue is left. Prints counts; exit
//! code 1 where anything was wrong.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program of the command line.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store::Config;
use artifact_store_core::BoxError;
use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Flavour, Options, Server, Who, base64, control, put};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Numbers of one round's artifacts start at a multiple of this.
const ROUND: u64 = 1 << 20;
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

/// What the clients of a round were told.
#[derive(Debug, Default)]
struct Said {
    /// Number and id of what was acknowledged.
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
                "{flavour}: {} kills of the server, {} uploads acknowledged, {} cut off, {} read back equal, {} more found whole, {} \
                 leftovers swept, {} faults",
                counts.kills,
                counts.acknowledged,
                counts.cut_off,
                counts.read_equal,
                counts.unacknowledged_whole,
                counts.residue_before,
                counts.faults.len()
            );
            counts.faults.iter().take(20).for_each(|fault| println!("  {fault}"));
            ExitCode::from(u8::from(!counts.faults.is_empty() || counts.kills != kills))
        }
        Err(error) => {
            eprintln!("wire-kills: {error}");
            ExitCode::FAILURE
        }
    }
}

fn who_of(number: u64) -> Who {
    Who::new("crash", "writer", &format!("s-{}", number % 5))
}

fn run(flavour: Flavour, kills: u64) -> Result<Counts, BoxError> {
    let runtime = Runtime::new()?;
    let mut counts = Counts::default();
    let mut server = Server::start(flavour, &Options::new());
    let url = server.url();
    let config: Config = url.parse()?;
    for round in 0..kills {
        let said = upload_and_kill(&mut server, round)?;
        counts.kills += 1;
        counts.cut_off += said.cut_off;
        counts.residue_before += server.residue().len();
        server.restart();
        inspect(&server, round, &said, &mut counts)?;
        // The sweep wants the store for itself.
        server.kill();
        runtime.block_on(artifact_store::sweep(&config))?;
        for left in server.residue() {
            counts.faults.push(format!("round {round}: the sweep left {left}"));
        }
        server.restart();
    }
    Ok(counts)
}

/// One life of the server.
fn upload_and_kill(server: &mut Server, round: u64) -> Result<Said, BoxError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
    let moment = Duration::from_micros(corpus::choice(u64::from(now) ^ (round << 40), 150_000));
    let (addr, next) = (server.addr(), AtomicU64::new(round * ROUND));
    let client = || {
        let mut said = Said::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (bytes, who) = (corpus::artifact(number), who_of(number));
            let request = if number.is_multiple_of(2) {
                put(&format!("?filename={number}"), bytes.to_vec()).by(&who)
            } else {
                let body = json!({"bytes": base64(&bytes), "opts": {"filename": number.to_string()}});
                control("artifacts.put", &body).by(&who)
            };
            // A response that is cut off was not an acknowledgement yet.
            match request.try_send(addr).filter(|response| response.complete) {
                Some(response) if matches!(response.status, 200 | 201) => {
                    let id = response.json()["ref"]["id"].as_str().unwrap_or_default().to_owned();
                    said.stored.push((number, id));
                }
                _ => {
                    said.cut_off += 1;
                    return said;
                }
            }
        }
    };
    let said = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        thread::sleep(moment);
        server.kill();
        clients.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut all = Said::default();
    for one in said {
        let one = one.map_err(|_| "a client fell over")?;
        all.stored.extend(one.stored);
        all.cut_off += one.cut_off;
    }
    Ok(all)
}

fn inspect(server: &Server, round: u64, said: &Said, counts: &mut Counts) -> Result<(), BoxError> {
    for (number, id) in &said.stored {
        let back = server.download(&who_of(*number), id);
        counts.acknowledged += 1;
        if back.status == 200 && back.complete && back.body == corpus::artifact(*number) {
            counts.read_equal += 1;
        } else {
            counts.faults.push(format!("round {round}: {number} was acknowledged: {back:?}"));
        }
    }
    let operator = Who::new("crash", "operator", "s").admin();
    let mut rows: Vec<Value> = Vec::new();
    let mut query = json!({"scope": {"tenant": "crash"}, "limit": 1000});
    loop {
        let page = server.call(&operator, "artifacts.list", &query).ok(200);
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
        let back = server.download(&who_of(number), id);
        if back.status != 200 || !back.complete || back.body != corpus::artifact(number) {
            counts.faults.push(format!("round {round}: {number} is listed and not whole: {back:?}"));
        } else if number / ROUND == round && !said.stored.iter().any(|(stored, _)| *stored == number) {
            counts.unacknowledged_whole += 1;
        }
        // One in sixteen stays and is looked at in every later round; the others make room.
        if !number.is_multiple_of(16) {
            server.call(&operator, "artifacts.delete", &json!({"scope": row["scope"], "id": id})).ok(200);
        }
    }
    Ok(())
}
