//! Prints how much memory the server takes while clients transfer large artifacts.
//!
//! `wire-memory FLAVOUR MIB [CLIENTS]`: CLIENTS clients (default: 8) concurrently upload one artifact of MIB
//! mebibytes each through the byte plane, and then concurrently download it. `wire-memory --put64`: one
//! `artifacts.put` of 64 MiB, on inmem. Prints the server's resident set when idle and its peak (`VmRSS` and `VmHWM`
//! of proc(5)). The exit code is 1 if the peak is 64 MiB or more above idle (160 MiB for the put, which holds its
//! bytes), or if an artifact came back with other bytes. `ARTIFACTD_BIN` selects another build of the program.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_core::{BoxError, Hasher};
use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Flavour, Identity, Request, Server, ServerOptions, base64, control, put,
};
use serde_json::json;

/// The largest allowed peak above idle, in KiB.
const LIMIT_KIB: u64 = 64 * 1024;
/// The same for one put of 64 MiB: the bytes, and what growing their buffer takes.
const PUT_LIMIT_KIB: u64 = 160 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flavour = |name: &str| name.parse::<Flavour>().ok();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--put64"] => measure_put64(),
        [name, mib, clients @ ..] if clients.len() < 2 => {
            let clients = clients.first().map_or(Some(8), |clients| clients.parse().ok());
            match (flavour(name), mib.parse(), clients) {
                (Some(flavour), Ok(mib), Some(clients)) => measure_transfers(flavour, mib, clients),
                _ => return usage(),
            }
        }
        _ => return usage(),
    };
    match result {
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

fn identity() -> Identity {
    Identity::new("memory", "program", "s")
}

/// Reads a field of the server's `/proc/PID/status`, in KiB.
fn proc_status_kib(server: &Server, field: &str) -> Result<u64, BoxError> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or("no such field in /proc/PID/status")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?)
}

/// Returns the resident set after the first requests, which load code and open connections. Resets the peak.
fn warm_up(server: &Server) -> Result<u64, BoxError> {
    for round in 0..8 {
        let id = server.store_id(&identity(), format!("warm {round}").as_bytes());
        server.download(&identity(), &id);
    }
    let idle = proc_status_kib(server, "VmRSS")?;
    std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5")?;
    Ok(idle)
}

fn measure_transfers(flavour: Flavour, mib: u64, clients: u64) -> Result<bool, BoxError> {
    let options = ServerOptions::new().set("protocol.max_request_bytes", mib * 1024 * 1024);
    let server = Server::start(flavour, &options);
    let idle = warm_up(&server)?;
    let chunks = mib * 1024 * 1024 / corpus::CHUNK_BYTES as u64;
    let log = |_: &BoxError| eprintln!("log of the server:\n{}", server.log());
    let (ids, put_took) =
        run_concurrently(clients, |client| upload(&server, client, chunks)).inspect_err(log)?;
    let put_peak = proc_status_kib(&server, "VmHWM")?;
    let (_, get_took) = run_concurrently(clients, |client| {
        download(&server, &ids[usize::try_from(client).unwrap_or_default()], client, chunks)
    })
    .inspect_err(log)?;
    let peak = proc_status_kib(&server, "VmHWM")?;
    // What inmem stores is not memory of the transfer.
    let held = if flavour == Flavour::Inmem { clients * mib * 1024 } else { 0 };
    let above = peak.saturating_sub(idle).saturating_sub(held);
    let rate = |took: Duration| u128::from(clients * mib) * 1000 / took.as_millis().max(1);
    println!(
        "{flavour}: {clients} clients × {mib} MiB over the wire: idle {:.1} MiB, peak while uploading \
         {:.1}, overall peak {:.1}: {:.1} MiB above idle (limit {}); up {} MiB/s, down {} MiB/s",
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

fn upload(server: &Server, client: u64, chunks: u64) -> Result<String, BoxError> {
    let mut connection = Connection::open(server.addr());
    connection.send(&put("", "").identity(&identity()).head(Some(chunks * corpus::CHUNK_BYTES as u64)));
    let mut writer = connection.try_clone_stream();
    for chunk in 0..chunks {
        writer.write_all(&corpus::chunk(client << 56, chunk))?;
    }
    let (response, _) = connection.read_response(false);
    let id = response.expect_json(201)["ref"]["id"].as_str().unwrap_or_default().to_owned();
    Ok(id)
}

fn download(server: &Server, id: &str, client: u64, chunks: u64) -> Result<(), BoxError> {
    let mut incoming =
        Request::get(format!("/v1/artifacts/{id}")).identity(&identity()).send_streaming(server.addr());
    let mut hasher = Hasher::new();
    while let Some(chunk) = incoming.next_data() {
        hasher.update(&chunk);
        // The client is not measured, but it does not need to keep everything either.
        incoming.response.body.clear();
    }
    let equal = hasher.finish() == corpus::digest_of_chunks(client << 56, chunks);
    if equal && incoming.response.complete { Ok(()) } else { Err("the bytes that came back differ".into()) }
}

/// Runs one task for each client concurrently. Returns their results in order, and how long all of them took.
fn run_concurrently<T: Send>(
    clients: u64,
    task: impl Fn(u64) -> Result<T, BoxError> + Sync,
) -> Result<(Vec<T>, Duration), BoxError> {
    let begun = Instant::now();
    let answers = thread::scope(|scope| {
        let task = &task;
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || task(client))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".into())))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok((answers, begun.elapsed()))
}

fn measure_put64() -> Result<bool, BoxError> {
    const LENGTH: usize = 64 * 1024 * 1024;
    let server = Server::start(
        Flavour::Inmem,
        &ServerOptions::new().set("protocol.max_request_bytes", json!(LENGTH as u64)),
    );
    let idle = warm_up(&server)?;
    let bytes = corpus::bytes(64, LENGTH);
    let body = format!("{{\"bytes\": \"{}\"}}", base64(&bytes));
    let begun = Instant::now();
    let stored =
        control("artifacts.put", &json!({})).identity(&identity()).body(body).send(&server).expect_json(200);
    let took = begun.elapsed();
    let peak = proc_status_kib(&server, "VmHWM")?;
    let id = stored["ref"]["id"].as_str().unwrap_or_default();
    let equal = server.download(&identity(), id).body == bytes;
    let above = peak.saturating_sub(idle);
    println!(
        "inmem: artifacts.put of 64 MiB: idle {:.1} MiB, peak {:.1}: {:.1} MiB above idle (limit {}), {:.1} s, {}",
        to_mib(idle),
        to_mib(peak),
        to_mib(above),
        PUT_LIMIT_KIB / 1024,
        took.as_secs_f64(),
        if equal { "read back equal" } else { "READ BACK DIFFERENT" }
    );
    Ok(equal && above < PUT_LIMIT_KIB)
}

#[allow(clippy::cast_precision_loss)] // For display only.
fn to_mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
