//! Builds the [`Config`] for `artifact_store::open` from the section `artifacts`: the driver, the keys that set its
//! options, and further options.
//!
//! Here keys and options are checked before the store is opened, so that an error names the key and is reported with
//! all other mistakes of the configuration. A driver can find further errors when it opens the store.

use std::path::Path;

use artifact_store::core::{OptionKind, Options, parse_duration, parse_size};
use artifact_store::{Config, CursorKey, DriverInfo, Registry, Secret, VerifyReads};
use serde_json::Value;

use super::error::Mistake;
use super::hint::{digits, duration_hint};
use super::keys::OPTIONS;
use super::layers::Layers;
use super::option_names::OptionNames;
use super::source::working_directory_phrase;
use super::{Purpose, parse, spellings};

/// The similarity, from 0 to 1, above which an option is suggested.
const MIN_SIMILARITY: f64 = 0.8;

/// The format of a driver key's value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ValueFormat {
    /// A path on the disk, with an example.
    Path(&'static str),
    /// A URL of one of these schemes, with an example.
    Url(&'static [&'static str], &'static str),
    Text,
    Boolean,
}

/// A key of the configuration that sets an option of a driver.
struct DriverKey {
    driver: &'static str,
    key: &'static str,
    option: &'static str,
    format: ValueFormat,
    /// An example of the option's value. `None` if the driver does not require the option.
    required_example: Option<&'static str>,
}

/// A row of [`DRIVER_KEYS`]. A path and a URL are required, and other values are not.
const fn driver_key(
    driver: &'static str,
    key: &'static str,
    option: &'static str,
    format: ValueFormat,
) -> DriverKey {
    let required_example = match format {
        ValueFormat::Path(example) | ValueFormat::Url(_, example) => Some(example),
        ValueFormat::Text | ValueFormat::Boolean => None,
    };
    DriverKey { driver, key, option, format, required_example }
}

/// The two schemes that clients of PostgreSQL accept.
const POSTGRES_SCHEMES: &[&str] = &["postgres", "postgresql"];

/// Every key that sets an option of a driver.
const DRIVER_KEYS: &[DriverKey] = &[
    driver_key("fs", "artifacts.fs_root", "root", ValueFormat::Path("/var/lib/artifactd")),
    driver_key("sqlite", "artifacts.dsn", "path", ValueFormat::Path("/var/lib/artifactd/artifacts.db")),
    driver_key(
        "postgres",
        "artifacts.dsn",
        "url",
        ValueFormat::Url(POSTGRES_SCHEMES, "postgres://user:password@host:5432/name"),
    ),
    DriverKey {
        required_example: Some("artifacts"),
        ..driver_key("s3", "artifacts.s3_bucket", "bucket", ValueFormat::Text)
    },
    driver_key("s3", "artifacts.s3_endpoint", "endpoint", ValueFormat::Text),
    driver_key("s3", "artifacts.s3_region", "region", ValueFormat::Text),
    driver_key("s3", "artifacts.s3_prefix", "prefix", ValueFormat::Text),
    driver_key("s3", "artifacts.s3_access_key_id", "access_key_id", ValueFormat::Text),
    driver_key("s3", "artifacts.s3_secret_access_key", "secret_access_key", ValueFormat::Text),
    driver_key("s3", "artifacts.s3_use_path_style", "path_style", ValueFormat::Boolean),
];

/// Pairs of keys that must be set together.
const KEY_PAIRS: &[(&str, &str)] = &[("artifacts.s3_access_key_id", "artifacts.s3_secret_access_key")];

/// The default driver for [`Purpose::Embed`]. For other purposes, `artifacts.driver` must be set.
const DEFAULT_DRIVER: &str = "inmem";

/// Returns the configuration of the store, and for each option of its driver the location where the option is set or
/// would be set. Adds every mistake that this function finds to `mistakes`.
///
/// Returns `None` if no driver can be used, or if this function finds a mistake in an option. If `mistakes` is not
/// empty, the returned configuration must not be used: its cursor secret can be wrong, and options whose illegal values
/// were reported before are missing.
///
/// # Errors
/// A bug in the table of keys.
pub(super) fn store_config(
    layers: &Layers,
    purpose: Purpose,
    registry: &Registry,
    mistakes: &mut Vec<Mistake>,
) -> Result<Option<(Config, OptionNames)>, Mistake> {
    let secret: Option<String> = layers.get("artifacts.cursor_secret", parse::text)?;
    if let Some(secret) = &secret
        && let Err(error) = CursorKey::from_secret(secret.as_bytes())
    {
        mistakes.push(layers.mistake("artifacts.cursor_secret", &error.to_string()));
    }
    let driver = layers.get("artifacts.driver", parse::text)?.unwrap_or_else(|| DEFAULT_DRIVER.to_owned());
    if !layers.are_legal(&["artifacts.driver"]) {
        return Ok(None);
    }
    let info = match registry.driver(&driver) {
        Ok(driver) => driver.info(),
        Err(error) => {
            mistakes.push(layers.mistake("artifacts.driver", &error.to_string()));
            return Ok(None);
        }
    };
    let has_driver =
        layers.is_set("artifacts.driver") || may_use_default_driver(layers, purpose, registry, mistakes);
    if !has_driver {
        return Ok(None);
    }
    let mistakes_before = mistakes.len();
    let key_options = key_options(layers, info, mistakes)?;
    let section_options = section_options(layers, info, &key_options, mistakes);
    check_required_options(layers, info, mistakes);
    if mistakes.len() > mistakes_before {
        return Ok(None);
    }
    let mut config = Config::new(&driver);
    for (option, value) in key_options {
        config = config.option(option, value);
    }
    for (option, value) in section_options {
        config = config.option(option, value);
    }
    config.verify_reads = match layers.require("artifacts.verify_reads", parse::one_of)? {
        "never" => VerifyReads::Never,
        _ => VerifyReads::Always,
    };
    config.cursor_secret = secret.map(Secret::new);
    let names = OptionNames::new(info, |option| location_of_option(layers, info, option));
    Ok(Some((config, names)))
}

/// Whether the store may have the default driver. Called only if `artifacts.driver` is not set. If the result is false,
/// the reason is in `mistakes`.
fn may_use_default_driver(
    layers: &Layers,
    purpose: Purpose,
    registry: &Registry,
    mistakes: &mut Vec<Mistake>,
) -> bool {
    // A user who sets a key of another driver does not want the default driver, which loses every artifact. If
    // `artifacts.driver` is set, this is not checked, because a file may have the keys of several drivers.
    let stray = DRIVER_KEYS.iter().find(|row| row.driver != DEFAULT_DRIVER && layers.is_set(row.key));
    if let Some(stray) = stray {
        mistakes.push(stray_key(layers, stray.key));
        return false;
    }
    // A mistyped key that probably means `artifacts.driver` is already reported.
    if !layers.is_missing("artifacts.driver") {
        return false;
    }
    if purpose != Purpose::Embed {
        let names: Vec<&str> = registry.drivers().map(|driver| driver.info().name).collect();
        mistakes.push(Mistake::without_source(format!(
            "artifacts.driver is not set, and servers and commands have no default driver; set it to one of {}",
            names.join(", ")
        )));
        return false;
    }
    true
}

/// Where an option of the driver is set or would be set, as part of a sentence. If the value of the option is a
/// relative path, the text also names the working directory.
fn location_of_option(layers: &Layers, info: &DriverInfo, option: &str) -> String {
    let row = row_of(info, option);
    let key = row.map_or_else(|| format!("{OPTIONS}.{option}"), |row| row.key.to_owned());
    let location = layers.location(&key);
    let is_path = match row {
        Some(row) => matches!(row.format, ValueFormat::Path(_)),
        None => info.url.path_option() == Some(option),
    };
    let path = layers.text(&key).filter(|_| is_path);
    // The text does not contain the path, because the value of `artifacts.dsn` is secret.
    let working_directory = match path {
        // `:memory:` of sqlite is not a path.
        Some(path) if !path.starts_with(':') => working_directory_phrase(Path::new(path)),
        _ => String::new(),
    };
    if working_directory.is_empty() {
        location
    } else {
        format!("{location} (a relative path{working_directory})")
    }
}

/// The mistake that `key` belongs to another driver and `artifacts.driver` is not set.
fn stray_key(layers: &Layers, key: &str) -> Mistake {
    let drivers: Vec<&str> = DRIVER_KEYS.iter().filter(|row| row.key == key).map(|row| row.driver).collect();
    let reason = format!("this key is of the driver {}; set artifacts.driver, too", drivers.join(" or "));
    layers.mistake(key, &reason)
}

/// The options that are set by keys of the driver, such as `artifacts.fs_root`. Adds a mistake for each required key
/// that is missing, each value in a wrong format, and each key that is set without the other key of its pair.
fn key_options(
    layers: &Layers,
    info: &DriverInfo,
    mistakes: &mut Vec<Mistake>,
) -> Result<Vec<(&'static str, Value)>, Mistake> {
    let mut options = Vec::new();
    for DriverKey { key, option, format, required_example, .. } in
        DRIVER_KEYS.iter().filter(|row| row.driver == info.name)
    {
        if !layers.is_set(key) {
            if let Some(example) = required_example
                && layers.is_missing(key)
            {
                let reason = format!("the driver {} needs {key}, such as {example}", info.name);
                mistakes.push(layers.mistake("artifacts.driver", &reason));
            }
            continue;
        }
        // An illegal value is already reported. In this case `get` returns the default of the key, or `None`.
        let value = match format {
            ValueFormat::Boolean => layers.get(key, parse::boolean)?.map(Value::Bool),
            ValueFormat::Path(_) | ValueFormat::Url(..) | ValueFormat::Text => {
                layers.get(key, parse::text)?.map(Value::String)
            }
        };
        if let Some(Value::String(text)) = &value
            && let Some(reason) = format.mismatch(info, text)
        {
            mistakes.push(layers.mistake(key, &reason));
        }
        options.extend(value.map(|value| (*option, value)));
    }
    // Each key of a pair requires the other key.
    for (one, other) in KEY_PAIRS.iter().flat_map(|(one, other)| [(one, other), (other, one)]) {
        let is_of_driver = keys_of(info).any(|key| key == *one);
        if is_of_driver && layers.is_set(one) && layers.is_missing(other) {
            let reason = format!("this key requires {other}; set both, or neither");
            mistakes.push(layers.mistake(one, &reason));
        }
    }
    Ok(options)
}

/// The options that the section `artifacts.options` sets. `key_options` are the options that other keys set. Adds a
/// mistake for each option that is unknown or illegal, and for each option that must be set by a key of the driver,
/// such as `artifacts.fs_root`.
fn section_options(
    layers: &Layers,
    info: &DriverInfo,
    key_options: &[(&'static str, Value)],
    mistakes: &mut Vec<Mistake>,
) -> Vec<(String, Value)> {
    let mut options = Vec::new();
    for (option, name, value) in layers.options() {
        if let Some(row) = row_of(info, option) {
            mistakes.push(layers.mistake(name, &format!("set this option as {}", row.key)));
            continue;
        }
        let Some(spec) = info.options.iter().find(|spec| spec.name == option) else {
            mistakes.push(layers.mistake(name, &unknown_option(info, option)));
            continue;
        };
        let value = normalized(spec.kind, value);
        // Each option is checked without the other options of the section. Otherwise an error about another option
        // could hide an error about this one.
        let key_options = key_options.iter().map(|(option, value)| ((*option).to_owned(), value.clone()));
        let with_this_option = key_options.chain([(option.to_owned(), value.clone())]);
        let parsed = Options::parse(info.name, info.options, with_this_option);
        // An error about another option is reported when that option is checked.
        if let Err(error) = parsed
            && error.options().first() == Some(&spec.name)
        {
            let hint = match spec.kind {
                OptionKind::Duration => {
                    digits(&value).map_or_else(String::new, |number| format!("; {}", duration_hint(&number)))
                }
                _ => String::new(),
            };
            let sentence = error.display_with_option_names(|_| name.to_owned());
            mistakes.push(layers.mistake_with_sentence(name, &format!("{sentence}{hint}")));
        }
        options.push((option.to_owned(), value));
    }
    options
}

/// Adds a mistake for each option that the driver requires, if no key of its own sets the option and the section
/// `artifacts.options` does not set it either.
fn check_required_options(layers: &Layers, info: &DriverInfo, mistakes: &mut Vec<Mistake>) {
    for spec in info.options {
        let is_required = spec.required && spec.default.is_none() && row_of(info, spec.name).is_none();
        let key = format!("{OPTIONS}.{}", spec.name);
        if is_required && layers.is_missing(&key) && layers.is_missing(OPTIONS) {
            let reason = format!("the driver {} needs {key}: {}", info.name, spec.about);
            mistakes.push(layers.mistake("artifacts.driver", &reason));
        }
    }
}

/// The value of an option in a spelling that drivers accept. Drivers accept fewer spellings than the configuration
/// does. A value that is not legal is returned unchanged.
fn normalized(kind: OptionKind, value: &Value) -> Value {
    let Value::String(text) = value else { return value.clone() };
    let accepted = match kind {
        OptionKind::Size if parse_size(text).is_none() => spellings::size(text).map(Value::from),
        OptionKind::Duration if parse_duration(text).is_none() => {
            spellings::duration(text).map(|duration| format!("{}ms", duration.as_millis()).into())
        }
        OptionKind::Choice(words) => {
            words.iter().find(|word| word.eq_ignore_ascii_case(text)).map(|word| (*word).into())
        }
        OptionKind::Bool => Some(text.to_ascii_lowercase().into()),
        _ => None,
    };
    accepted.unwrap_or_else(|| value.clone())
}

/// The message about an option that the driver does not have. The message names options as in the configuration.
fn unknown_option(info: &DriverInfo, option: &str) -> String {
    let key = |option: &str| {
        row_of(info, option).map_or_else(|| format!("{OPTIONS}.{option}"), |row| row.key.to_owned())
    };
    let nearest = info
        .options
        .iter()
        .map(|spec| (strsim::jaro_winkler(option, spec.name), spec.name))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY);
    let end = match nearest {
        Some((_, known)) => format!("did you mean {}?", key(known)),
        None if info.options.is_empty() => "it has none".to_owned(),
        None => {
            let known: Vec<String> = info.options.iter().map(|spec| key(spec.name)).collect();
            format!("known: {}", known.join(", "))
        }
    };
    format!("the driver {} has no option '{option}'; {end}", info.name)
}

/// The row of the key that sets `option` of this driver. `None` if no key sets it.
fn row_of(info: &DriverInfo, option: &str) -> Option<&'static DriverKey> {
    DRIVER_KEYS.iter().find(|row| row.driver == info.name && row.option == option)
}

/// The key that sets an option with the name `option`, of whatever driver. `None` if no key sets such an option.
pub(super) fn key_of_option(option: &str) -> Option<&'static str> {
    DRIVER_KEYS.iter().find(|row| row.option == option).map(|row| row.key)
}

/// The names of the options of all drivers.
pub(super) fn option_names(registry: &Registry) -> Vec<&'static str> {
    registry.drivers().flat_map(|driver| driver.info().options).map(|spec| spec.name).collect()
}

/// The keys that set options of the driver.
fn keys_of(info: &DriverInfo) -> impl Iterator<Item = &'static str> {
    DRIVER_KEYS.iter().filter(|row| row.driver == info.name).map(|row| row.key)
}

impl ValueFormat {
    /// Why `text` does not have this format, or `None` if `text` has this format. The reason does not repeat the text,
    /// which may contain a password.
    fn mismatch(self, info: &DriverInfo, text: &str) -> Option<String> {
        match self {
            Self::Path(example) => {
                let is_url = text.contains("://") || text.starts_with(&format!("{}:", info.name));
                is_url.then(|| format!("this is a URL; write a path such as {example}"))
            }
            Self::Url(schemes, example) => {
                if !text.split_once("://").is_some_and(|(scheme, _)| schemes.contains(&scheme)) {
                    return Some(format!("the driver {} takes a URL such as {example}", info.name));
                }
                // The URL is passed to the client of the database, which does not know the options of the driver.
                let query = text.split_once('?').map_or("", |(_, query)| query);
                let mut names =
                    query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
                let key = names.find_map(|name| key_of_parameter(info, name));
                key.map(|key| {
                    format!(
                        "the URL has a parameter that is not for the database but for the store; set {key}"
                    )
                })
            }
            Self::Text | Self::Boolean => None,
        }
    }
}

/// The key that sets a parameter of a store URL. `None` if a store URL has no such parameter.
fn key_of_parameter(info: &DriverInfo, name: &str) -> Option<String> {
    match name {
        "verify_reads" | "cursor_secret" => Some(format!("artifacts.{name}")),
        _ => info.options.iter().any(|spec| spec.name == name).then(|| format!("{OPTIONS}.{name}")),
    }
}
