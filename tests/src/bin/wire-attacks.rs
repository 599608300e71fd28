//! What one user can do to the others: runs attacks against a server and measures the requests of another tenant meanwhile.
//!
//! `wire-attacks [--driver inmem|sqlite] [--rounds N] [ATTACK…]`: for each attack a fresh server; N rounds (40) of requests of a
//! tenant that has nothing to do with it, each on a new connection, before the attack and during it. Prints how many were
//! answered as they should be, and the median, the 99th percentile and the maximum of their latencies in milliseconds. Exit code 1
//! where a request of the other tenant failed during an attack, or events of it were lost. `ARTIFACTD_BIN` names another build of
//! the program. The sockets of all attacks go to loopback, are bounded in number, and end with the program. Needs 20 000 file
//! descriptors (`ulimit -n`).
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program of the command line.

#[path = "wire-attacks/attacks.rs"]
mod attacks;
#[path = "wire-attacks/client.rs"]
mod client;
#[path = "wire-attacks/target.rs"]
mod target;

use std::process::ExitCode;
use std::time::Duration;

use artifact_store_core::BoxError;

use self::attacks::{ATTACKS, Attack};
use self::client::{Client, Latencies};
use self::target::Target;

struct Arguments {
    driver: String,
    rounds: usize,
    attacks: Vec<&'static Attack>,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments(std::env::args().skip(1)) else {
        let names: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        eprintln!(
            "usage: wire-attacks [--driver inmem|sqlite] [--rounds N] [ATTACK…], of {}",
            names.join(", ")
        );
        return ExitCode::from(2);
    };
    println!(
        "{:<18}{:<8}{:<10}{:>10}{:>10}{:>10}{:>10}",
        "attack", "when", "request", "answered", "p50 ms", "p99 ms", "max ms"
    );
    let mut held = true;
    for attack in &arguments.attacks {
        match run(attack, &arguments) {
            Ok(served) => held &= served,
            Err(error) => {
                eprintln!("wire-attacks: {}: {error}", attack.name);
                held = false;
            }
        }
    }
    ExitCode::from(u8::from(!held))
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

/// True: the other tenant was served throughout.
fn run(attack: &Attack, arguments: &Arguments) -> Result<bool, BoxError> {
    let mut target = Target::start(&arguments.driver, attack)?;
    let client = Client::new(target.addr());
    client.rounds(3);
    print(attack.name, "before", &client.rounds(arguments.rounds));
    let begun = (attack.begin)(&mut target)?;
    // What the attack holds is held by now, or was refused.
    std::thread::sleep(Duration::from_millis(500));
    let during = client.rounds(arguments.rounds);
    print(attack.name, "during", &during);
    let served = during.iter().all(|latencies| latencies.answered == latencies.sent());
    let findings = begun.end(&mut target)?;
    for finding in &findings {
        println!("{:<18}{finding}", "");
    }
    let ended = target.stop()?;
    println!("{:<18}after it: SIGTERM ends the server with {ended}", "");
    Ok(served && findings.iter().all(|finding| finding.holds) && ended == "exit code 0")
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
