//! Measures what one user can do to the others: attacks a server and times the requests of another tenant meanwhile.
//!
//! `wire-attacks [--driver inmem|sqlite] [--rounds N] [ATTACK…]`: each attack gets a fresh server. An uninvolved
//! tenant sends N rounds (default: 40) of requests before the attack and during it, each on a new connection. Prints
//! how many got the expected response, and the median, the 99th percentile and the maximum of their latencies in
//! milliseconds. The exit code is 1 if a request of the other tenant failed during an attack, or if its events were
//! lost. `ARTIFACTD_BIN` selects another build of the program. The sockets of all attacks connect to loopback, are
//! limited in number, and close with the program. Needs 20 000 file descriptors (`ulimit -n`).
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.

#[path = "wire-attacks/attacks.rs"]
mod attacks;
#[path = "wire-attacks/client.rs"]
mod client;
#[path = "wire-attacks/server.rs"]
mod server;

use std::process::ExitCode;
use std::time::Duration;

use artifact_store_core::BoxError;

use self::attacks::{ATTACKS, Attack};
use self::client::{Latencies, VictimClient};
use self::server::AttackedServer;

struct Arguments {
    driver: String,
    rounds: usize,
    attacks: Vec<&'static Attack>,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments(std::env::args().skip(1)) else {
        let names: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        eprintln!(
            "usage: wire-attacks [--driver inmem|sqlite] [--rounds N] [ATTACK…]\nattacks: {}",
            names.join(", ")
        );
        return ExitCode::from(2);
    };
    println!(
        "{:<18}{:<8}{:<10}{:>10}{:>10}{:>10}{:>10}",
        "attack", "when", "request", "answered", "p50 ms", "p99 ms", "max ms"
    );
    let mut all_served = true;
    for attack in &arguments.attacks {
        match run(attack, &arguments) {
            Ok(served) => all_served &= served,
            Err(error) => {
                eprintln!("wire-attacks: {}: {error}", attack.name);
                all_served = false;
            }
        }
    }
    ExitCode::from(u8::from(!all_served))
}

fn arguments(mut given: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments { driver: "inmem".into(), rounds: 40, attacks: Vec::new() };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--driver" => {
                arguments.driver =
                    given.next().filter(|driver| ["inmem", "sqlite"].contains(&driver.as_str()))?;
            }
            "--rounds" => arguments.rounds = given.next()?.parse().ok()?,
            name => arguments.attacks.push(ATTACKS.iter().find(|attack| attack.name == name)?),
        }
    }
    if arguments.attacks.is_empty() {
        arguments.attacks.extend(ATTACKS);
    }
    Some(arguments)
}

/// Returns true if the other tenant was served throughout.
fn run(attack: &Attack, arguments: &Arguments) -> Result<bool, BoxError> {
    let mut server = AttackedServer::start(&arguments.driver, attack)?;
    let client = VictimClient::new(server.addr());
    client.run_rounds(3);
    print(attack.name, "before", &client.run_rounds(arguments.rounds));
    let running = (attack.begin)(&mut server)?;
    // By now the attack holds all its resources, or was refused them.
    std::thread::sleep(Duration::from_millis(500));
    let during = client.run_rounds(arguments.rounds);
    print(attack.name, "during", &during);
    let all_answered = during.iter().all(|latencies| latencies.answered == latencies.sent());
    let findings = running.stop(&mut server)?;
    for finding in &findings {
        println!("{:<18}{finding}", "");
    }
    let exit = server.stop()?;
    println!("{:<18}afterwards: after SIGTERM the server exits with {exit}", "");
    Ok(all_answered && findings.iter().all(|finding| finding.holds) && exit == "exit code 0")
}

fn print(attack: &str, when: &str, all: &[Latencies]) {
    for latencies in all {
        let [half, most, max] = [0.5, 0.99, 1.0].map(|share| latencies.percentile(share));
        println!(
            "{attack:<18}{when:<8}{:<10}{:>10}{half:>10.1}{most:>10.1}{max:>10.1}",
            latencies.request,
            format!("{}/{}", latencies.answered, latencies.sent())
        );
    }
}
