//! Variables that begin with this program's name and are no key: which of them are somebody's all the same, and what the others
//! were meant to be. It must never know a value that somebody gave, beyond what kind of thing it is.

use std::net::IpAddr;

use super::keys::{KEYS, OPTIONS};

/// What every key's variable begins with.
pub(super) const KEY_PREFIX: &str = "ARTIFACTD__";
/// What every variable of this program begins with.
pub(super) const PREFIX: &str = "ARTIFACTD_";

/// Variables that are no keys: the store of the command line, the commit of a build, the program that tests run.
const OTHERS: [&str; 3] = ["ARTIFACTD_STORE", "ARTIFACTD_COMMIT", "ARTIFACTD_BIN"];

/// From which likeness on a name is taken for a slip of another one.
const NEAR: f64 = 0.85;

/// Whether a variable that is no key is known, or was put there by an orchestrator that knows a service of this name.
pub(super) fn is_known(name: &str, value: &str) -> bool {
    OTHERS.contains(&name) || is_of_service(name, value)
}

/// Kubernetes and the links of Docker tell every container of a service called `artifactd`, or `artifactd-…`, by such variables.
fn is_of_service(name: &str, value: &str) -> bool {
    if name.contains("__") {
        return false;
    }
    let (is_address, is_port) = (value.parse::<IpAddr>().is_ok(), value.parse::<u16>().is_ok());
    let is_url = value.split_once("://").is_some_and(|(scheme, _)| is_transport(scheme));
    if name.ends_with("_SERVICE_HOST") {
        return is_address;
    }
    if name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return is_port;
    }
    if name.ends_with("_PORT") && is_url {
        return true;
    }
    // …_PORT_80_TCP, and the same with _PROTO, _PORT and _ADDR.
    let parts: Vec<&str> = name.rsplit_once("_PORT_").map_or("", |(_, rest)| rest).split('_').collect();
    let (number, transport, fits) = match parts[..] {
        [number, transport] => (number, transport, is_url),
        [number, transport, "PROTO"] => (number, transport, is_transport(value)),
        [number, transport, "PORT"] => (number, transport, is_port),
        [number, transport, "ADDR"] => (number, transport, is_address),
        _ => return false,
    };
    fits && number.parse::<u16>().is_ok() && is_transport(&transport.to_ascii_lowercase())
}

fn is_transport(word: &str) -> bool {
    matches!(word, "tcp" | "udp" | "sctp")
}

/// Why a variable that is nobody's is refused.
pub(super) fn unknown(name: &str) -> String {
    let meant = plain(name);
    let keys = KEYS.iter().map(|key| key.name).filter(|key| *key != OPTIONS).map(variable);
    let near = keys
        .chain(OTHERS.iter().take(1).map(|name| (*name).to_owned()))
        .map(|known| (likeness(&meant, &plain(&known)), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(nearness, _)| *nearness > NEAR);
    match near {
        Some((_, known)) => format!("there is no such variable; did you mean {known}?"),
        None => format!(
            "there is no such variable; a key is set by {KEY_PREFIX}SECTION__KEY, such as {}",
            variable("artifacts.driver")
        ),
    }
}

/// How much `meant` looks like `known`, at most 1. Who leaves out the section means the key.
fn likeness(meant: &str, known: &str) -> f64 {
    let is_its_end = known.strip_suffix(meant).is_some_and(|before| before.ends_with('_'));
    if is_its_end && !meant.is_empty() { 1.0 } else { strsim::jaro_winkler(meant, known) }
}

/// The variable that sets a key.
fn variable(key: &str) -> String {
    format!("{KEY_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// What is left of a variable's name where its underscores do not count.
fn plain(name: &str) -> String {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    let parts: Vec<&str> = rest.split('_').filter(|part| !part.is_empty()).collect();
    parts.join("_").to_lowercase()
}
