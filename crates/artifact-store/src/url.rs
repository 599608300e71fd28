//! The URL form of a [`Config`].
//!
//! What stands behind a scheme is the driver's to read, and parsing knows no driver. So the place waits under a name that cannot
//! be an option until the driver is known; [`settle`] then makes options of it.

use std::collections::{BTreeMap, BTreeSet};

use artifact_store_core::{DriverInfo, StoreError, UrlForm};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::config::Config;

/// Where a path waits for its driver. No option can have this name.
const PATH: &str = ":path";
/// Where what follows `driver://` waits as it was written, without the [`Config`]'s own parameters.
const AUTHORITY: &str = ":authority";

/// The longest name of an option or a driver, in bytes. Names are repeated in errors, and no driver has longer ones.
const MAX_NAME_BYTES: usize = 64;

/// The [`Config`]'s own names, which no driver's option hides.
const OWN: [&str; 3] = ["verify_reads", "cursor_secret", "max_artifact_bytes"];

// No error repeats a URL or a value: a URL in the wrong place may carry a password.
pub(crate) fn parse(url: &str) -> Result<Config, StoreError> {
    let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Err(StoreError::invalid(
            "this is no store URL; it takes the form driver:path, such as fs:/var/lib/artifacts or inmem:",
        ));
    };
    if url.contains('#') {
        return Err(StoreError::invalid("a store URL has no fragment; write %23 for a # in it"));
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut config = Config::new(scheme);
    let authority = place.strip_prefix("//");
    if authority.is_none() && !place.is_empty() {
        config = config.option(PATH, decode(place)?);
    }
    let mut kept = Vec::new();
    for parameter in parameters(query)? {
        if OWN.contains(&parameter.name.as_str()) {
            config.set_own(&parameter.name, &parameter.value()?)?;
        } else if authority.is_some() {
            kept.push(parameter.raw);
        } else {
            let value = parameter.option()?;
            config = config.option(parameter.name, Value::String(value));
        }
    }
    if let Some(authority) = authority {
        let mark = if kept.is_empty() { "" } else { "?" };
        config = config.option(AUTHORITY, format!("{authority}{mark}{}", kept.join("&")));
    }
    Ok(config)
}

/// Makes options of the place that [`parse`] put by, as the driver's [`UrlForm`] says. What was set by name after the URL was
/// parsed stands over the URL's parameters; what the place itself says cannot be said twice.
pub(crate) fn settle(info: &DriverInfo, given: &mut BTreeMap<String, Value>) -> Result<(), StoreError> {
    if let Some(Value::String(path)) = given.remove(PATH) {
        return match info.url {
            UrlForm::Path(option) => say(info, given, option, path, "'s path"),
            _ => Err(no_path(info)),
        };
    }
    let Some(Value::String(rest)) = given.remove(AUTHORITY) else { return Ok(()) };
    let (place, query) = rest.split_once('?').unwrap_or((&rest, ""));
    let mut foreign = Vec::new();
    for parameter in parameters(query)? {
        let is_option = info.options.iter().any(|spec| spec.name == parameter.name);
        if matches!(info.url, UrlForm::Whole(_)) && !is_option {
            foreign.push(parameter.raw);
        } else {
            let value = Value::String(parameter.option()?);
            given.entry(parameter.name).or_insert(value);
        }
    }
    match info.url {
        UrlForm::Whole(option) => {
            let mark = if foreign.is_empty() { "" } else { "?" };
            let url = format!("{}://{place}{mark}{}", info.name, foreign.join("&"));
            say(info, given, option, url, " itself")
        }
        UrlForm::HostAndPath { host: host_option, path: path_option } => {
            let (host, path) = place.split_once('/').unwrap_or((place, ""));
            if host.contains(['@', ':']) {
                return Err(StoreError::invalid(format!(
                    "the URL {}://… holds a user, a password or a port; it takes {}, and everything else as options",
                    info.name,
                    info.url.pattern(info.name)
                )));
            }
            for (option, text, part) in [(host_option, host, "'s host"), (path_option, path, "'s path")] {
                if !text.is_empty() {
                    say(info, given, option, decode(text)?, part)?;
                }
            }
            Ok(())
        }
        // An absolute path behind an empty authority.
        UrlForm::Path(option) if place.starts_with('/') => {
            say(info, given, option, decode(place)?, "'s path")
        }
        UrlForm::Nothing if place.starts_with('/') => Err(no_path(info)),
        UrlForm::Path(_) | UrlForm::Nothing => Err(StoreError::invalid(format!(
            "the URL {0}://… names a host; write {0}:/… for an absolute path and {0}:… for a relative one",
            info.name
        ))),
    }
}

/// Part of the URL as the option that it stands for.
fn say(
    info: &DriverInfo,
    given: &mut BTreeMap<String, Value>,
    option: &str,
    value: String,
    part: &str,
) -> Result<(), StoreError> {
    if given.insert(option.to_owned(), Value::String(value)).is_none() {
        return Ok(());
    }
    Err(StoreError::invalid(format!(
        "the option '{option}' of {} is given twice: as the URL{part}, and by name",
        info.name
    )))
}

fn no_path(info: &DriverInfo) -> StoreError {
    StoreError::invalid(format!(
        "the driver {} has no path; write {}",
        info.name,
        info.url.pattern(info.name)
    ))
}

/// A `name=value` of a query.
struct Parameter<'a> {
    raw: &'a str,
    /// Decoded.
    name: String,
}

impl Parameter<'_> {
    fn value(&self) -> Result<String, StoreError> {
        let Some((_, value)) = self.raw.split_once('=') else {
            let name = &self.name;
            return Err(StoreError::invalid(format!("'{name}' in a store URL has no value; write {name}=…")));
        };
        decode(value)
    }

    /// Its value as that of an option, whose name it must have.
    fn option(&self) -> Result<String, StoreError> {
        if !is_name(&self.name) {
            return Err(StoreError::invalid(
                "an option's name in a store URL is made of at most 64 letters, digits and '_'; options are written name=value",
            ));
        }
        self.value()
    }
}

/// The parameters of a query, each name once.
fn parameters(query: &str) -> Result<Vec<Parameter<'_>>, StoreError> {
    let mut seen = BTreeSet::new();
    let mut parameters = Vec::new();
    for raw in query.split('&').filter(|raw| !raw.is_empty()) {
        let name = decode(raw.split_once('=').map_or(raw, |(name, _)| name))?;
        if !seen.insert(name.clone()) {
            let name = if is_name(&name) { &name } else { "a parameter" };
            return Err(StoreError::invalid(format!("{name} is given twice in a store URL")));
        }
        parameters.push(Parameter { raw, name });
    }
    Ok(parameters)
}

/// What is no name of an option is not repeated in an error, either.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_scheme(scheme: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&scheme.len())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn decode(text: &str) -> Result<String, StoreError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| StoreError::invalid("a store URL holds escapes that are no UTF-8"))
}
