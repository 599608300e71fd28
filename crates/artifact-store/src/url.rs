//! The URL form of a [`Config`].
//!
//! It knows no driver: the path is kept under a name that cannot be an option, until the driver is known.

use std::collections::BTreeSet;

use artifact_store_core::StoreError;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::config::Config;

/// Where the path waits for its driver. No option can have this name.
pub(crate) const PATH: &str = ":path";

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
        return Err(StoreError::invalid("a store URL has no fragment; write %23 for a # in a path"));
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => {
            return Err(StoreError::invalid(format!(
                "the URL {scheme}://… names a host; write {scheme}:/… for an absolute path and {scheme}:… for a relative one"
            )));
        }
        None => path,
    };
    let mut config = Config::new(scheme);
    if !path.is_empty() {
        config = config.option(PATH, decode(path)?);
    }
    let mut seen = BTreeSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return Err(StoreError::invalid(
                "an option's name in a store URL is made of letters, digits and '_'; options are written name=value",
            ));
        }
        if !pair.contains('=') {
            return Err(StoreError::invalid(format!("'{name}' in a store URL has no value; write {name}=…")));
        }
        if !seen.insert(name.clone()) {
            return Err(StoreError::invalid(format!("the option '{name}' is given twice")));
        }
        let value = decode(value)?;
        if OWN.contains(&name.as_str()) {
            config.set_own(&name, &value)?;
        } else {
            config = config.option(name, Value::String(value));
        }
    }
    Ok(config)
}

fn is_scheme(scheme: &str) -> bool {
    !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn decode(text: &str) -> Result<String, StoreError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| StoreError::invalid("a store URL holds escapes that are no UTF-8"))
}
