//! Stops a server during 50 transfers and checks that each of them completes.
//!
//! `wire-shutdown FLAVOUR`: 25 uploads of 2 MiB and 25 downloads of 12 MiB are throttled to last about 3 s. The
//! server gets SIGTERM within the first second. All transfers must finish, later connections must be refused, and the
//! server must exit with code 0 within its grace period. If the driver is persistent, every upload must exist after a
//! restart. Prints counts. The exit code is 1 if anything was wrong.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.

use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Flavour, Identity, Request, Server, ServerOptions, put, sha256, signal,
};

const TRANSFERS: u64 = 25;
const UPLOAD_BYTES: usize = 2 * 1024 * 1024;
/// More than the socket buffers between the two processes hold, so that the server cannot finish at once.
const DOWNLOAD_BYTES: usize = 12 * 1024 * 1024;
const STEPS: usize = 30;
const STEP: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let Some(flavour) = argument.and_then(|name| name.parse::<Flavour>().ok()) else {
        eprintln!("usage: wire-shutdown {}", Flavour::names("|"));
        return ExitCode::from(2);
    };
    let options = ServerOptions::new()
        .set("server.shutdown_grace_period", "20s")
        .set("protocol.max_request_bytes", DOWNLOAD_BYTES);
    let server = Server::start(flavour, &options);
    ExitCode::from(u8::from(!run(server)))
}

fn identity(transfer: u64) -> Identity {
    Identity::new("shutdown", "program", &format!("s-{transfer}"))
}

/// The id of bytes in the namespace `default`.
fn id_of(bytes: &[u8]) -> String {
    format!("default_{}", &sha256(bytes)[..32])
}

/// A slow upload. Returns true if the response was 201.
fn upload(addr: SocketAddr, transfer: u64, bytes: &[u8], started: &Barrier) -> bool {
    let mut connection = Connection::open(addr);
    connection.send(&put("", "").identity(&identity(transfer)).head(Some(UPLOAD_BYTES as u64)));
    for (step, data) in bytes.chunks(UPLOAD_BYTES.div_ceil(STEPS)).enumerate() {
        if !connection.send(data) {
            break;
        }
        if step == 0 {
            started.wait();
        }
        thread::sleep(STEP);
    }
    connection.try_read_response(false).is_some_and(|(response, _)| response.status == 201)
}

/// A slow download. Returns true if all bytes arrived.
fn download(addr: SocketAddr, transfer: u64, id: &str, started: &Barrier) -> bool {
    let mut incoming =
        Request::get(format!("/v1/artifacts/{id}")).identity(&identity(transfer)).send_streaming(addr);
    started.wait();
    let (mut read, begun) = (0, Instant::now());
    while let Some(data) = incoming.next_data() {
        read += data.len();
        let due = STEP * u32::try_from(read * STEPS / DOWNLOAD_BYTES).unwrap_or(0);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let response = incoming.response;
    response.complete && response.body.len() == DOWNLOAD_BYTES && id_of(&response.body) == id
}

fn run(mut server: Server) -> bool {
    let (flavour, addr, pid) = (server.flavour(), server.addr(), server.pid());
    let ids: Vec<String> = (TRANSFERS..2 * TRANSFERS)
        .map(|transfer| {
            let stored = put("", corpus::bytes(transfer, DOWNLOAD_BYTES).to_vec())
                .identity(&identity(transfer))
                .send(&server);
            stored.expect_json(201)["ref"]["id"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    let bodies: Vec<_> = (0..TRANSFERS).map(|transfer| corpus::bytes(transfer, UPLOAD_BYTES)).collect();
    let started = Arc::new(Barrier::new(51));
    let uploads: Vec<_> = (0..)
        .zip(bodies.clone())
        .map(|(transfer, bytes)| {
            let started = Arc::clone(&started);
            thread::spawn(move || upload(addr, transfer, &bytes, &started))
        })
        .collect();
    let downloads: Vec<_> = (TRANSFERS..)
        .zip(ids)
        .map(|(transfer, id)| {
            let started = Arc::clone(&started);
            thread::spawn(move || download(addr, transfer, &id, &started))
        })
        .collect();
    started.wait();
    // The last uploads were just sent. After this time the server has received them.
    thread::sleep(Duration::from_millis(500));
    signal(pid, "TERM");
    let signalled = Instant::now();
    thread::sleep(Duration::from_millis(300));
    let refused = (0..5).filter(|_| is_refused(addr)).count();
    let whole = |threads: Vec<thread::JoinHandle<bool>>| {
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|whole| *whole).count() as u64
    };
    let (up, down) = (whole(uploads), whole(downloads));
    let status = server.wait();
    let took = signalled.elapsed();
    let mut kept = 0;
    if flavour != Flavour::Inmem {
        server.restart();
        for (transfer, bytes) in (0..).zip(bodies) {
            kept += u64::from(server.download(&identity(transfer), &id_of(&bytes)).body == bytes);
        }
    }
    println!(
        "{flavour}: stopped with 50 transfers in flight: {up} of 25 uploads and {down} of 25 downloads \
         finished, {refused} of 5 later connections refused, exit code {}, {:.1} s, {}",
        status.code().map_or_else(|| "none".to_owned(), |code| code.to_string()),
        took.as_secs_f64(),
        if flavour == Flavour::Inmem {
            "not persistent".to_owned()
        } else {
            format!("{kept} of 25 uploads kept")
        }
    );
    up == TRANSFERS
        && down == TRANSFERS
        && refused == 5
        && status.success()
        && (flavour == Flavour::Inmem || kept == TRANSFERS)
}

/// Whether a new connection is not served.
fn is_refused(addr: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_secs(1)) else { return true };
    drop(stream);
    Connection::try_open(addr).is_ok_and(|mut connection| {
        connection.send(&Request::get("/healthz").head(None));
        connection.set_read_timeout(Duration::from_secs(1));
        connection.is_closed_within(Duration::from_secs(1))
    })
}
