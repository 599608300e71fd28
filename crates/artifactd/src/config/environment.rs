//! Environment variables that begin with `ARTIFACTD_` and are not keys: which of them are accepted, and the error
//! message for the others, with a suggestion if a known variable is similar. This module must never print a value.

use std::net::IpAddr;

use super::keys::{KEYS, OPTIONS};

/// The prefix of the variable of every key.
pub(super) const KEY_PREFIX: &str = "ARTIFACTD__";
/// The prefix of every variable of this program.
pub(super) const PREFIX: &str = "ARTIFACTD_";

/// The variable that names the store of a command.
const STORE_VARIABLE: &str = "ARTIFACTD_STORE";

/// Variables that are not keys: the store of a command, the commit of a build, the program that tests run.
const NON_KEY_VARIABLES: [&str; 3] = [STORE_VARIABLE, "ARTIFACTD_COMMIT", "ARTIFACTD_BIN"];

/// The similarity, from 0 to 1, above which a name is suggested.
const MIN_SIMILARITY: f64 = 0.85;

/// Whether a variable that is not a key is accepted: a variable of [`NON_KEY_VARIABLES`], or one that an orchestrator
/// such as Kubernetes sets for a service with the name `artifactd` or `artifactd-…`.
pub(super) fn is_known(name: &str, value: &str) -> bool {
    NON_KEY_VARIABLES.contains(&name) || is_service_variable(name, value)
}

/// Whether `name` and `value` have the form of a service variable. Kubernetes sets such variables in a container for
/// each service, and Docker for each link. The caller has checked [`PREFIX`], so the service is called `artifactd` or
/// `artifactd-…`.
fn is_service_variable(name: &str, value: &str) -> bool {
    // Two underscores stand for a dot in the name of a key, so this variable is treated as a mistyped key.
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
    // `…_PORT_80_TCP`, `…_PORT_80_TCP_PROTO`, `…_PORT_80_TCP_PORT` or `…_PORT_80_TCP_ADDR`.
    let after_port = name.rsplit_once("_PORT_").map_or("", |(_, after)| after);
    let parts: Vec<&str> = after_port.split('_').collect();
    let (number, transport, value_fits) = match parts[..] {
        [number, transport] => (number, transport, is_url),
        [number, transport, "PROTO"] => (number, transport, is_transport(value)),
        [number, transport, "PORT"] => (number, transport, is_port),
        [number, transport, "ADDR"] => (number, transport, is_address),
        _ => return false,
    };
    value_fits && number.parse::<u16>().is_ok() && is_transport(&transport.to_ascii_lowercase())
}

/// Whether `word` is a protocol name in the variables that Kubernetes sets for a service, as in `NAME_PORT_80_TCP`.
fn is_transport(word: &str) -> bool {
    matches!(word, "tcp" | "udp" | "sctp")
}

/// The error message for an unknown variable.
pub(super) fn unknown_variable(name: &str) -> String {
    let normalized = normalize(name);
    let keys = KEYS.iter().map(|key| key.name).filter(|key| *key != OPTIONS).map(variable_name);
    // Of the variables that are not keys, users set only `STORE_VARIABLE`. So the others are not suggested.
    let suggestion = keys
        .chain([STORE_VARIABLE.to_owned()])
        .map(|known| (similarity(&normalized, &normalize(&known)), known))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY);
    match suggestion {
        Some((_, known)) => format!("there is no such variable; did you mean {known}?"),
        None => format!(
            "there is no such variable; a key is set by {KEY_PREFIX}SECTION__KEY, such as {}",
            variable_name("artifacts.driver")
        ),
    }
}

/// How similar `name` is to `known`, from 0 to 1. If `name` is `known` without its section, the similarity is 1.
fn similarity(name: &str, known: &str) -> f64 {
    let is_suffix = known.strip_suffix(name).is_some_and(|section| section.ends_with('_'));
    if is_suffix && !name.is_empty() { 1.0 } else { strsim::jaro_winkler(name, known) }
}

/// The variable that sets a key.
fn variable_name(key: &str) -> String {
    format!("{KEY_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// The name of a variable without its prefix, in lower case, with single underscores.
fn normalize(name: &str) -> String {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    let parts: Vec<&str> = rest.split('_').filter(|part| !part.is_empty()).collect();
    parts.join("_").to_lowercase()
}
