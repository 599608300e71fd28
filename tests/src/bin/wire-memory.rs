//! Prints how much memory the server takes while clients move large artifacts.
//!
//! `wire-memory FLAVOUR MIB [CLIENTS]`: CLIENTS clients (8) upload an artifact of MIB mebibytes each through the byte plane, all
//! at once, and then download it, all at once. `wire-memory --put64`: one `artifacts.put` of 64 MiB, on inmem. Prints the
//! server's resident set when idle and its peak (`VmRSS` and `VmHWM` of proc(5)); exit code 1 where the peak is 64 MiB or more
//! above idle (160 MiB for the put, which holds its bytes), or an artifact came back as another. `ARTIFACTD_BIN` names another
//! build of the program.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program of the command line.

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_core::{BoxError, Hasher};
use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Connection, Flavour, Options, Request, Server, Who, base64, control, put};
use serde_json::json;

/// The most above idle, in KiB.
const BOUND: u64 = 64 * 1024;
/// The same for one put of 64 MiB: the bytes, and what their growing takes.
const PUT_BOUND: u64 = 160 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flavour = |name: &str| name.parse::<Flavour>().ok();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--put64"] => put64(),
        [name, mib, clients @ ..] if clients.len() < 2 => {
            let clients = clients.first().map_or(Some(8), |clients| clients.parse().ok());
            match (flavour(name), mib.parse(), clients) {
                (Some(flavour), Ok(mib), Some(clients)) => flow(flavour, mib, clients),
                _ => return usage(),
            }
        }
        _ => return usage(),
    };
    match done {
        Ok(fits) => ExitCode::from(u8::from(!fits)),
        Err(error) => {
            eprintln!("wire-memory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: wire-memory {} MIB [CLIENTS], or wire-memory --put64", Flavour::names("|"));
    ExitCode::from(2)
}

fn who() -> Who {
    Who::new("memory", "program", "s")
}

/// A field of the server's `/proc/PID/status`, in KiB.
fn status(server: &Server, field: &str) -> Result<u64, BoxError> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or("no such field in /proc/PID/status")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?)
}

/// The resident set after the first requests, which load code and open connections; the peak starts from here.
fn warm(server: &Server) -> Result<u64, BoxError> {
    for round in 0..8 {
        let id = server.store_id(&who(), format!("warm {round}").as_bytes());
        server.download(&who(), &id);
    }
    let idle = status(server, "VmRSS")?;
    std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5")?;
    Ok(idle)
}

fn flow(flavour: Flavour, mib: u64, clients: u64) -> Result<bool, BoxError> {
    let options = Options::new().set("protocol.max_request_bytes", mib * 1024 * 1024);
    let server = Server::start(flavour, &options);
    let idle = warm(&server)?;
    let pieces = mib * 1024 * 1024 / corpus::PIECE as u64;
    let log = |_: &BoxError| eprintln!("what the server logged:\n{}", server.log());
    let (ids, put_took) = together(clients, |client| upload(&server, client, pieces)).inspect_err(log)?;
    let put_peak = status(&server, "VmHWM")?;
    let (_, get_took) = together(clients, |client| {
        download(&server, &ids[usize::try_from(client).unwrap_or_default()], client, pieces)
    })
    .inspect_err(log)?;
    let peak = status(&server, "VmHWM")?;
    // What it holds by its nature is not what flows.
    let held = if flavour == Flavour::Inmem { clients * mib * 1024 } else { 0 };
    let above = peak.saturating_sub(idle).saturating_sub(held);
    let rate = |took: Duration| u128::from(clients * mib) * 1000 / took.as_millis().max(1);
    println!(
        "{flavour}: {clients} clients × {mib} MiB over the wire: idle {:.1} MiB, peak while uploading {:.1}, peak in all {:.1}: \
         {:.1} MiB above idle (bound {}); up {} MiB/s, down {} MiB/s",
        mebi(idle),
        mebi(put_peak),
        mebi(peak),
        mebi(above),
        BOUND / 1024,
        rate(put_took),
        rate(get_took)
    );
    Ok(above < BOUND)
}

fn upload(server: &Server, client: u64, pieces: u64) -> Result<String, BoxError> {
    let mut connection = Connection::open(server.addr());
    connection.send(&put("", "").by(&who()).head(Some(pieces * corpus::PIECE as u64)));
    let mut writer = connection.writer();
    for piece in 0..pieces {
        writer.write_all(&corpus::piece(client << 56, piece))?;
    }
    let (response, _) = connection.response(false);
    let id = response.ok(201)["ref"]["id"].as_str().unwrap_or_default().to_owned();
    Ok(id)
}

fn download(server: &Server, id: &str, client: u64, pieces: u64) -> Result<(), BoxError> {
    let mut incoming = Request::get(format!("/v1/artifacts/{id}")).by(&who()).begin(server.addr());
    let mut hasher = Hasher::new();
    while let Some(piece) = incoming.piece() {
        hasher.update(&piece);
        // The client is not what is measured, but it need not hold it all either.
        incoming.response.body.clear();
    }
    let equal = hasher.finish() == corpus::digest_of_flow(client << 56, pieces);
    if equal && incoming.response.complete { Ok(()) } else { Err("other bytes came back".into()) }
}

/// Runs a task for each client at once; their answers in order, and how long all of them took.
fn together<T: Send>(
    clients: u64,
    task: impl Fn(u64) -> Result<T, BoxError> + Sync,
) -> Result<(Vec<T>, Duration), BoxError> {
    let begun = Instant::now();
    let answers = thread::scope(|scope| {
        let task = &task;
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || task(client))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a client fell over".into())))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok((answers, begun.elapsed()))
}

fn put64() -> Result<bool, BoxError> {
    const LENGTH: usize = 64 * 1024 * 1024;
    let server = Server::start(
        Flavour::Inmem,
        &Options::new().set("protocol.max_request_bytes", json!(LENGTH as u64)),
    );
    let idle = warm(&server)?;
    let bytes = corpus::bytes(64, LENGTH);
    let body = format!("{{\"bytes\": \"{}\"}}", base64(&bytes));
    let begun = Instant::now();
    let stored = control("artifacts.put", &json!({})).by(&who()).body(body).send(&server).ok(200);
    let took = begun.elapsed();
    let peak = status(&server, "VmHWM")?;
    let id = stored["ref"]["id"].as_str().unwrap_or_default();
    let equal = server.download(&who(), id).body == bytes;
    let above = peak.saturating_sub(idle);
    println!(
        "inmem: artifacts.put of 64 MiB: idle {:.1} MiB, peak {:.1}: {:.1} MiB above idle (bound {}), {:.1} s, {}",
        mebi(idle),
        mebi(peak),
        mebi(above),
        PUT_BOUND / 1024,
        took.as_secs_f64(),
        if equal { "read back equal" } else { "READ BACK AS ANOTHER" }
    );
    Ok(equal && above < PUT_BOUND)
}

#[allow(clippy::cast_precision_loss)] // For people.
fn mebi(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
