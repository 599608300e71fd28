//! Builds the [`Config`] for `artifact_store::open` from the section `artifacts`: the driver, the keys that set its
//! options, and further options.
//!
//! Every error that can be found without opening the store is found here, so that the error names the key.

use artifact_store::core::{Options, StoreError};
use artifact_store::{Config, CursorKey, DriverInfo, Secret, VerifyReads};
use serde_json::Value;

use super::error::ConfigError;
use super::keys::OPTIONS;
use super::layers::Layers;
use super::option_names::OptionNames;
use super::parse;

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
    /// An example value. `None` if the driver does not require the option.
    required: Option<&'static str>,
}

const fn driver_key(
    driver: &'static str,
    key: &'static str,
    option: &'static str,
    format: ValueFormat,
) -> DriverKey {
    let required = match format {
        ValueFormat::Path(example) | ValueFormat::Url(_, example) => Some(example),
        ValueFormat::Text | ValueFormat::Boolean => None,
    };
    DriverKey { driver, key, option, format, required }
}

/// The two schemes that clients of PostgreSQL accept.
const POSTGRES_SCHEMES: &[&str] = &["postgres", "postgresql"];

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
        required: Some("artifacts"),
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

/// The default driver of runtimes that embed the store. A server must name a driver.
const DEFAULT_DRIVER: &str = "inmem";

/// The configuration of the store, and for each option of its driver the location where it is or would be set.
pub(super) fn store_config(layers: &Layers) -> Result<(Config, OptionNames), ConfigError> {
    let driver = layers.get("artifacts.driver", parse::text)?.unwrap_or_else(|| DEFAULT_DRIVER.to_owned());
    let key_error = |name: &str, error: &StoreError| layers.key_error(name, &error.to_string());
    let registry = artifact_store::drivers().map_err(|error| key_error("artifacts.driver", &error))?;
    let info = registry.driver(&driver).map_err(|error| key_error("artifacts.driver", &error))?.info();
    refuse_keys_without_driver(layers, &driver)?;
    let key_options = key_options(layers, info)?;
    let mut config = Config::new(&driver);
    for (option, value) in &key_options {
        config = config.option(*option, value.clone());
    }
    for (option, name, value) in layers.options() {
        if let Some(row) = DRIVER_KEYS.iter().find(|row| row.driver == driver && row.option == option) {
            return Err(layers.key_error(name, &format!("set this option as {}", row.key)));
        }
        // Each option is checked without the other options of the section, so that an error is about this one.
        let others = key_options.iter().map(|(option, value)| ((*option).to_owned(), value.clone()));
        let options = others.chain([(option.to_owned(), value.clone())]);
        Options::parse(info.name, info.options, options)
            .map_err(|error| layers.option_error(name, &error))?;
        config = config.option(option, value.clone());
    }
    config.verify_reads = match layers.require("artifacts.verify_reads", parse::one_of)? {
        "never" => VerifyReads::Never,
        _ => VerifyReads::Always,
    };
    let secret: Option<String> = layers.get("artifacts.cursor_secret", parse::text)?;
    if let Some(secret) = secret {
        CursorKey::from_secret(secret.as_bytes())
            .map_err(|error| key_error("artifacts.cursor_secret", &error))?;
        config.cursor_secret = Some(Secret::new(secret));
    }
    let names = OptionNames::new(info, |option| {
        let row = DRIVER_KEYS.iter().find(|row| row.driver == info.name && row.option == option);
        let key = row.map_or_else(|| format!("{OPTIONS}.{option}"), |row| row.key.to_owned());
        layers.location(&key)
    });
    Ok((config, names))
}

/// Refuses a key of another driver if `artifacts.driver` is not set. Whoever sets such a key does not want the default
/// driver, which loses every artifact. With `artifacts.driver`, a file may have the keys of several drivers.
fn refuse_keys_without_driver(layers: &Layers, driver: &str) -> Result<(), ConfigError> {
    if layers.is_set("artifacts.driver") {
        return Ok(());
    }
    let Some(stray) = DRIVER_KEYS.iter().find(|row| row.driver != driver && layers.is_set(row.key)) else {
        return Ok(());
    };
    let drivers: Vec<&str> =
        DRIVER_KEYS.iter().filter(|row| row.key == stray.key).map(|row| row.driver).collect();
    let reason = format!("this key is of the driver {}; set artifacts.driver, too", drivers.join(" or "));
    Err(layers.key_error(stray.key, &reason))
}

/// The options that the keys of the driver set.
fn key_options(layers: &Layers, info: &DriverInfo) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let mut options = Vec::new();
    for DriverKey { key, option, format, required, .. } in
        DRIVER_KEYS.iter().filter(|row| row.driver == info.name)
    {
        if !layers.is_set(key) {
            if let Some(example) = required {
                let reason = format!("the driver {} needs {key}, such as {example}", info.name);
                return Err(layers.key_error("artifacts.driver", &reason));
            }
            continue;
        }
        let value = match format {
            ValueFormat::Boolean => layers.get(key, parse::boolean)?.map(Value::Bool),
            ValueFormat::Path(_) | ValueFormat::Url(..) | ValueFormat::Text => {
                layers.get(key, parse::text)?.map(Value::String)
            }
        };
        if let Some(Value::String(text)) = &value
            && let Some(reason) = format.mismatch(info, text)
        {
            return Err(layers.key_error(key, &reason));
        }
        options.extend(value.map(|value| (*option, value)));
    }
    for (one, other) in KEY_PAIRS.iter().flat_map(|(one, other)| [(one, other), (other, one)]) {
        if keys_of(info).any(|key| key == *one) && layers.is_set(one) && !layers.is_set(other) {
            let reason = format!("this key requires {other}; set both, or neither");
            return Err(layers.key_error(one, &reason));
        }
    }
    Ok(options)
}

/// The keys that set options of the driver.
fn keys_of(info: &DriverInfo) -> impl Iterator<Item = &'static str> {
    DRIVER_KEYS.iter().filter(|row| row.driver == info.name).map(|row| row.key)
}

impl ValueFormat {
    /// Why `text` does not have this format. The reason does not repeat the text, which may contain a password.
    fn mismatch(self, info: &DriverInfo, text: &str) -> Option<String> {
        match self {
            Self::Path(example) => {
                let is_url = text.contains("://") || text.starts_with(&format!("{}:", info.name));
                is_url.then(|| format!("this is a URL; it takes a path such as {example}"))
            }
            Self::Url(schemes, example) => {
                if !text.split_once("://").is_some_and(|(scheme, _)| schemes.contains(&scheme)) {
                    return Some(format!("the driver {} takes a URL such as {example}", info.name));
                }
                // The client of the database gets the URL, and does not know the options of the driver.
                let pairs = text.split_once('?').map_or("", |(_, query)| query).split('&');
                let mut names = pairs.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
                names.find_map(|name| key_of_parameter(info, name)).map(|key| {
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
