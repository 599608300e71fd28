//! Tells a server to stop while 50 transfers flow, and looks whether each of them ends whole.
//!
//! `wire-shutdown FLAVOUR`: 25 uploads of 2 MiB and 25 downloads of 12 MiB are throttled to last about 3 s; within the first of them the
//! server is sent SIGTERM. All have to finish, later connections have to be refused, the server has to end with exit code 0
//! within its grace period, and, where the driver keeps data, every upload has to be there after a restart. Prints counts; exit
//! code 1 where anything was wrong.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program of the command line.

use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Connection, Flavour, Options, Request, Server, Who, put, sha256, signal};

const TRANSFERS: u64 = 25;
const UP: usize = 2 * 1024 * 1024;
/// More than the buffers between the two processes hold, so that the server is not done with it at once.
const DOWN: usize = 12 * 1024 * 1024;
const STEPS: usize = 30;
const STEP: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let Some(flavour) = argument.and_then(|name| name.parse::<Flavour>().ok()) else {
        eprintln!("usage: wire-shutdown {}", Flavour::names("|"));
        return ExitCode::from(2);
    };
    let options =
        Options::new().set("server.shutdown_grace_period", "20s").set("protocol.max_request_bytes", DOWN);
    let server = Server::start(flavour, &options);
    ExitCode::from(u8::from(!run(server)))
}

fn who(transfer: u64) -> Who {
    Who::new("shutdown", "program", &format!("s-{transfer}"))
}

/// The id of bytes in the namespace `default`.
fn id_of(bytes: &[u8]) -> String {
    format!("default_{}", &sha256(bytes)[..32])
}

/// An upload that takes its time. True: it was answered with 201.
fn upload(addr: SocketAddr, transfer: u64, bytes: &[u8], under_way: &Barrier) -> bool {
    let mut connection = Connection::open(addr);
    connection.send(&put("", "").by(&who(transfer)).head(Some(UP as u64)));
    for (step, piece) in bytes.chunks(UP.div_ceil(STEPS)).enumerate() {
        if !connection.send(piece) {
            break;
        }
        if step == 0 {
            under_way.wait();
        }
        thread::sleep(STEP);
    }
    connection.maybe_response(false).is_some_and(|(response, _)| response.status == 201)
}

/// A download that takes its time. True: all of it came.
fn download(addr: SocketAddr, transfer: u64, id: &str, under_way: &Barrier) -> bool {
    let mut incoming = Request::get(format!("/v1/artifacts/{id}")).by(&who(transfer)).begin(addr);
    under_way.wait();
    let (mut read, begun) = (0, Instant::now());
    while let Some(piece) = incoming.piece() {
        read += piece.len();
        let due = STEP * u32::try_from(read * STEPS / DOWN).unwrap_or(0);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let response = incoming.response;
    response.complete && response.body.len() == DOWN && id_of(&response.body) == id
}

fn run(mut server: Server) -> bool {
    let (flavour, addr, pid) = (server.flavour(), server.addr(), server.pid());
    let ids: Vec<String> = (TRANSFERS..2 * TRANSFERS)
        .map(|transfer| {
            let stored = put("", corpus::bytes(transfer, DOWN).to_vec()).by(&who(transfer)).send(&server);
            stored.ok(201)["ref"]["id"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    let bodies: Vec<_> = (0..TRANSFERS).map(|transfer| corpus::bytes(transfer, UP)).collect();
    let under_way = Arc::new(Barrier::new(51));
    let uploads: Vec<_> = (0..)
        .zip(bodies.clone())
        .map(|(transfer, bytes)| {
            let under_way = Arc::clone(&under_way);
            thread::spawn(move || upload(addr, transfer, &bytes, &under_way))
        })
        .collect();
    let downloads: Vec<_> = (TRANSFERS..)
        .zip(ids)
        .map(|(transfer, id)| {
            let under_way = Arc::clone(&under_way);
            thread::spawn(move || download(addr, transfer, &id, &under_way))
        })
        .collect();
    under_way.wait();
    // The last of the uploads have been sent to the server, and now it has them.
    thread::sleep(Duration::from_millis(500));
    signal(pid, "TERM");
    let told = Instant::now();
    thread::sleep(Duration::from_millis(300));
    let refused = (0..5).filter(|_| is_refused(addr)).count();
    let whole = |threads: Vec<thread::JoinHandle<bool>>| {
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|whole| *whole).count() as u64
    };
    let (up, down) = (whole(uploads), whole(downloads));
    let status = server.wait();
    let took = told.elapsed();
    let mut kept = 0;
    if flavour != Flavour::Inmem {
        server.restart();
        for (transfer, bytes) in (0..).zip(bodies) {
            kept += u64::from(server.download(&who(transfer), &id_of(&bytes)).body == bytes);
        }
    }
    println!(
        "{flavour}: told to stop with 50 transfers in flight: {up} of 25 uploads and {down} of 25 downloads finished, {refused} \
         of 5 later connections refused, exit code {}, {:.1} s, {}",
        status.code().map_or_else(|| "none".to_owned(), |code| code.to_string()),
        took.as_secs_f64(),
        if flavour == Flavour::Inmem {
            "nothing to keep".to_owned()
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

/// Whether a new connection gets no service.
fn is_refused(addr: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_secs(1)) else { return true };
    drop(stream);
    Connection::try_open(addr).is_ok_and(|mut connection| {
        connection.send(&Request::get("/healthz").head(None));
        connection.patience(Duration::from_secs(1));
        connection.ends_within(Duration::from_secs(1))
    })
}
