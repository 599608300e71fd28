//! The URL form of a [`Config`].
//!
//! The driver determines the meaning of the part after the scheme, but the parser does not know the driver. So
//! [`parse`] stores this part under a name that no option can have. Once the driver is known,
//! [`resolve_url_parts`] converts the part to options. This module must never know a particular driver.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use artifact_store_core::{DriverInfo, StoreError, UrlForm};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::config::Config;

/// The key of an unresolved path. No option can have this name.
const PATH_KEY: &str = ":path";
/// The key of the unresolved text after `driver://`, as it was written, without the parameters in [`CONFIG_KEYS`].
const AFTER_SLASHES_KEY: &str = ":after_slashes";

/// The longest name of an option or a driver, in bytes. Names are limited because errors repeat them.
const MAX_NAME_BYTES: usize = 64;

/// The keys of [`Config`] itself. They take precedence over a driver's option of the same name.
const CONFIG_KEYS: [&str; 3] = ["verify_reads", "cursor_secret", "max_artifact_bytes"];

/// `driver:path?option=value&…`, or `driver://…?option=value&…`.
///
/// - `inmem:`, `fs:/var/lib/artifacts`, `fs:relative/folder`, `sqlite:artifacts.db`, `sqlite::memory:`.
/// - An absolute path may follow an empty authority (`fs:///var/lib/artifacts`). A host before the path is an error.
/// - `s3://bucket/prefix?region=eu-central-1`: the host is the bucket, the path is the prefix.
/// - `gs://bucket/prefix` and `az://container/prefix`: alike, with the schemes that the tools of these clouds write. The
///   names of the drivers, gcs and azure, work, too.
/// - `postgres://user:password@host/name?sslmode=require&schema=files`: the URL is passed to the database client
///   unchanged, including escapes. Only the parameters that are options of the driver or keys of [`Config`] are
///   removed.
/// - The values of options and of keys of [`Config`] are percent-decoded. Host and path are percent-decoded, too,
///   except in `postgres://`. A `?` in a path is written `%3F`.
/// - `verify_reads`, `cursor_secret` and `max_artifact_bytes` are keys of [`Config`]. Every other name is an option of
///   the driver.
///
/// The parts and options are validated when the store is opened, because only the driver knows them.
impl FromStr for Config {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        parse(url)
    }
}

// Errors repeat neither the URL nor a value, because the URL and its values may contain a password.
fn parse(url: &str) -> Result<Config, StoreError> {
    let Some((scheme, after_scheme)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Err(StoreError::invalid(
            "not a store URL: expected driver:path, for example fs:/var/lib/artifacts or inmem:",
        ));
    };
    if url.contains('#') {
        return Err(StoreError::invalid("a store URL has no fragment; write %23 for a # in it"));
    }
    let (location, query) = after_scheme.split_once('?').unwrap_or((after_scheme, ""));
    let mut config = Config::new(scheme);
    let after_slashes = location.strip_prefix("//");
    if after_slashes.is_none() && !location.is_empty() {
        config = config.option(PATH_KEY, decode(location)?);
    }
    let mut driver_parameters = Vec::new();
    for parameter in parse_parameters(query)? {
        if CONFIG_KEYS.contains(&parameter.name.as_str()) {
            config.set_key(&parameter.name, &parameter.value()?)?;
        } else if after_slashes.is_some() {
            // Only `resolve_url_parts` knows whether this is an option or a parameter for the database client.
            driver_parameters.push(parameter.raw);
        } else {
            let value = parameter.option_value()?;
            config = config.option(parameter.name, Value::String(value));
        }
    }
    if let Some(after_slashes) = after_slashes {
        let separator = if driver_parameters.is_empty() { "" } else { "?" };
        config = config
            .option(AFTER_SLASHES_KEY, format!("{after_slashes}{separator}{}", driver_parameters.join("&")));
    }
    Ok(config)
}

/// Converts the parts that [`parse`] has left unresolved to options, according to the driver's [`UrlForm`].
///
/// If the program has set an option with [`Config::option`], this value overrides the URL's parameter of the same name.
/// It is an error if an option is set by name and also by the URL's host, by its path or by the URL as a whole.
pub(crate) fn resolve_url_parts(
    info: &DriverInfo,
    values: &mut BTreeMap<String, Value>,
) -> Result<(), StoreError> {
    if let Some(Value::String(path)) = values.remove(PATH_KEY) {
        return match info.url {
            UrlForm::Path(option) => set_option(values, option, path, "'s path"),
            _ => Err(path_not_allowed(info)),
        };
    }
    let Some(Value::String(after_slashes)) = values.remove(AFTER_SLASHES_KEY) else { return Ok(()) };
    let (location, query) = after_slashes.split_once('?').unwrap_or((&after_slashes, ""));
    let mut client_parameters = Vec::new();
    for parameter in parse_parameters(query)? {
        let is_option = info.options.iter().any(|spec| spec.name == parameter.name);
        if matches!(info.url, UrlForm::FullUrl(_)) && !is_option {
            client_parameters.push(parameter.raw);
        } else {
            let value = Value::String(parameter.option_value()?);
            // A value that the program has set is not replaced.
            values.entry(parameter.name).or_insert(value);
        }
    }
    match info.url {
        UrlForm::FullUrl(option) => {
            let separator = if client_parameters.is_empty() { "" } else { "?" };
            let url = format!("{}://{location}{separator}{}", info.name, client_parameters.join("&"));
            set_option(values, option, url, " itself")
        }
        UrlForm::HostAndPath { host: host_option, path: path_option, .. } => {
            let (host, path) = location.split_once('/').unwrap_or((location, ""));
            if host.contains(['@', ':']) {
                return Err(StoreError::invalid(format!(
                    "the URL {}://… holds a user, a password or a port; it takes {}, and everything else as options",
                    info.url.scheme().unwrap_or(info.name),
                    info.url.pattern(info.name)
                )));
            }
            for (option, text, part) in [(host_option, host, "'s host"), (path_option, path, "'s path")] {
                if !text.is_empty() {
                    set_option(values, option, decode(text)?, part)?;
                }
            }
            Ok(())
        }
        // The host is empty, as in `fs:///path`, so the location is an absolute path.
        UrlForm::Path(option) if location.starts_with('/') => {
            set_option(values, option, decode(location)?, "'s path")
        }
        UrlForm::SchemeOnly if location.starts_with('/') => Err(path_not_allowed(info)),
        UrlForm::Path(_) | UrlForm::SchemeOnly => Err(StoreError::invalid(format!(
            "the URL {0}://… names a host; write {0}:/… for an absolute path and {0}:… for a relative one",
            info.name
        ))),
    }
}

/// Sets an option from a part of the URL. It is an error if the option is already set. `part` names the part of the URL
/// in the error message, after the words `the URL`, for example `'s path`.
fn set_option(
    values: &mut BTreeMap<String, Value>,
    option: &'static str,
    value: String,
    part: &str,
) -> Result<(), StoreError> {
    if values.insert(option.to_owned(), Value::String(value)).is_none() {
        return Ok(());
    }
    Err(StoreError::invalid_option(option, format!("is given twice: as the URL{part}, and by name")))
}

/// The error for a path in a URL whose driver takes no path.
fn path_not_allowed(info: &DriverInfo) -> StoreError {
    StoreError::invalid(format!(
        "the driver {} has no path; write {}",
        info.name,
        info.url.pattern(info.name)
    ))
}

/// A `name=value` parameter of a query.
struct Parameter<'a> {
    /// The parameter as it was written.
    raw: &'a str,
    /// The decoded name.
    name: String,
}

impl Parameter<'_> {
    /// The decoded value.
    fn value(&self) -> Result<String, StoreError> {
        let Some((_, value)) = self.raw.split_once('=') else {
            let name = &self.name;
            return Err(StoreError::invalid(format!("'{name}' in a store URL has no value; write {name}=…")));
        };
        decode(value)
    }

    /// The decoded value. Returns an error if the name cannot be the name of an option.
    fn option_value(&self) -> Result<String, StoreError> {
        if !is_name(&self.name) {
            return Err(StoreError::invalid(
                "an option's name in a store URL has at most 64 letters, digits, '_' and '-'; options are written name=value",
            ));
        }
        self.value()
    }
}

/// Parses the parameters of a query. Each name may occur once.
fn parse_parameters(query: &str) -> Result<Vec<Parameter<'_>>, StoreError> {
    let mut seen = BTreeSet::new();
    let mut parameters = Vec::new();
    for raw in query.split('&').filter(|raw| !raw.is_empty()) {
        let raw_name = raw.split_once('=').map_or(raw, |(raw_name, _)| raw_name);
        let name = decode(raw_name)?;
        if !seen.insert(name.clone()) {
            let shown_name = if is_name(&name) { &name } else { "a parameter" };
            return Err(StoreError::invalid(format!("{shown_name} is given twice in a store URL")));
        }
        parameters.push(Parameter { raw, name });
    }
    Ok(parameters)
}

/// Whether `text` may be the name of an option. An error never repeats a text that may not, because it may be a secret.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Whether `scheme` may be the scheme of a store URL: 1 to 64 characters that are allowed in a URL scheme.
fn is_scheme(scheme: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&scheme.len())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Decodes the percent-escapes in `text`.
fn decode(text: &str) -> Result<String, StoreError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| StoreError::invalid("a store URL has percent-escapes that are not valid UTF-8"))
}
