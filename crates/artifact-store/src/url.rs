//! The URL form of a [`Config`].
//!
//! It knows no driver: the path is kept under a name that cannot be an option, until the driver is known.

use artifact_store_core::{StoreError, parse_size};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::config::{Config, Secret, parse_verify_reads};

/// Where the path waits for its driver. No option can have this name.
pub(crate) const PATH: &str = ":path";

pub(crate) fn parse(url: &str) -> Result<Config, StoreError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(StoreError::invalid(format!(
            "'{url}' is no store URL; it takes the form driver:path, such as fs:/var/lib/artifacts or inmem:"
        )));
    };
    if url.contains('#') {
        return Err(StoreError::invalid("a store URL has no fragment; write %23 for a # in a path"));
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(host) => {
            return Err(StoreError::invalid(format!(
                "'{scheme}://{host}' names a host; write {scheme}:/{host} for an absolute path or {scheme}:{host} for a \
                 relative one"
            )));
        }
        None => path,
    };
    let mut config = Config::new(scheme);
    if !path.is_empty() {
        config = config.option(PATH, decode(path)?);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(StoreError::invalid(format!("'{pair}' in a store URL has no value; write {pair}=…")));
        };
        let (name, value) = (decode(name)?, decode(value)?);
        match name.as_str() {
            "verify_reads" => config.verify_reads = parse_verify_reads(&value)?,
            "cursor_secret" => config.cursor_secret = Some(Secret::new(value)),
            "max_artifact_bytes" => {
                let bytes = parse_size(&value).ok_or_else(|| {
                    StoreError::invalid(
                        "max_artifact_bytes is not legal; it takes a size such as 4096 or 4MiB",
                    )
                })?;
                config.max_artifact_bytes = Some(bytes);
            }
            _ if config.options.0.contains_key(&name) => {
                return Err(StoreError::invalid(format!("the option '{name}' is given twice")));
            }
            _ => config = config.option(name, Value::String(value)),
        }
    }
    Ok(config)
}

fn decode(text: &str) -> Result<String, StoreError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| StoreError::invalid("a store URL holds escapes that are no UTF-8"))
}
