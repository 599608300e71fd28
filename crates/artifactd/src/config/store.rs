//! From the section of artifacts to the facade's [`Config`]: the driver, its place, its options.
//!
//! Everything that can be refused before the place is touched is refused here, so that the line says which key it was.

use artifact_store::core::{Options, StoreError};
use artifact_store::{Config, CursorKey, DriverInfo, Secret, VerifyReads};
use serde_json::Value;

use super::layers::Layers;
use super::{ConfigError, value};

/// What a key of a place takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// A path on the disk, such as this one.
    Path(&'static str),
    /// A URL of one of these schemes, such as this one.
    Url(&'static [&'static str], &'static str),
    Text,
    Switch,
}

/// A driver's option that is a key of its own.
struct Place {
    driver: &'static str,
    key: &'static str,
    option: &'static str,
    takes: Takes,
    /// An example, where the driver cannot do without.
    needed: Option<&'static str>,
}

const fn place(driver: &'static str, key: &'static str, option: &'static str, takes: Takes) -> Place {
    let needed = match takes {
        Takes::Path(example) | Takes::Url(_, example) => Some(example),
        Takes::Text | Takes::Switch => None,
    };
    Place { driver, key, option, takes, needed }
}

/// What clients of PostgreSQL write, either of them.
const POSTGRES: &[&str] = &["postgres", "postgresql"];

const PLACES: &[Place] = &[
    place("fs", "artifacts.fs_root", "root", Takes::Path("/var/lib/artifactd")),
    place("sqlite", "artifacts.dsn", "path", Takes::Path("/var/lib/artifactd/artifacts.db")),
    place(
        "postgres",
        "artifacts.dsn",
        "url",
        Takes::Url(POSTGRES, "postgres://user:password@host:5432/name"),
    ),
    Place { needed: Some("artifacts"), ..place("s3", "artifacts.s3_bucket", "bucket", Takes::Text) },
    place("s3", "artifacts.s3_endpoint", "endpoint", Takes::Text),
    place("s3", "artifacts.s3_region", "region", Takes::Text),
    place("s3", "artifacts.s3_prefix", "prefix", Takes::Text),
    place("s3", "artifacts.s3_access_key_id", "access_key_id", Takes::Text),
    place("s3", "artifacts.s3_secret_access_key", "secret_access_key", Takes::Text),
    place("s3", "artifacts.s3_use_path_style", "path_style", Takes::Switch),
];

/// Keys that come together.
const COUPLES: &[(&str, &str)] = &[("artifacts.s3_access_key_id", "artifacts.s3_secret_access_key")];

/// The driver of a runtime that embeds the store and names none. A server has to name its own.
const EMBEDDED: &str = "inmem";

pub(super) fn config(layers: &Layers) -> Result<Config, ConfigError> {
    let driver = layers.get("artifacts.driver", value::text)?.unwrap_or_else(|| EMBEDDED.to_owned());
    let said = |name: &str, error: &StoreError| layers.refuse(name, &error.to_string());
    let registry = artifact_store::drivers().map_err(|error| said("artifacts.driver", &error))?;
    let info = registry.driver(&driver).map_err(|error| said("artifacts.driver", &error))?.info();
    refuse_strays(layers, &driver)?;
    let place = given(layers, info)?;
    let mut config = Config::new(&driver);
    for (option, value) in &place {
        config = config.option(*option, value.clone());
    }
    for (option, name, value) in layers.options() {
        if let Some(place) = PLACES.iter().find(|place| place.driver == driver && place.option == option) {
            return Err(layers.refuse(name, &format!("this is written as {}", place.key)));
        }
        let beside = place.iter().map(|(option, value)| ((*option).to_owned(), value.clone()));
        let alone = beside.chain([(option.to_owned(), value.clone())]);
        Options::parse(info.name, info.options, alone).map_err(|error| said(name, &error))?;
        config = config.option(option, value.clone());
    }
    config.verify_reads = match layers.need("artifacts.verify_reads", value::word)? {
        "never" => VerifyReads::Never,
        _ => VerifyReads::Always,
    };
    let secret: Option<String> = layers.get("artifacts.cursor_secret", value::text)?;
    if let Some(secret) = secret {
        CursorKey::from_secret(secret.as_bytes()).map_err(|error| said("artifacts.cursor_secret", &error))?;
        config.cursor_secret = Some(Secret::new(secret));
    }
    Ok(config)
}

/// One file may hold the places of several drivers, to choose among them elsewhere; but nobody who names a place means the
/// default driver, which forgets everything.
fn refuse_strays(layers: &Layers, driver: &str) -> Result<(), ConfigError> {
    if layers.has("artifacts.driver") {
        return Ok(());
    }
    match PLACES.iter().find(|place| place.driver != driver && layers.has(place.key)) {
        None => Ok(()),
        Some(stray) => {
            let of: Vec<&str> =
                PLACES.iter().filter(|place| place.key == stray.key).map(|place| place.driver).collect();
            let why = format!("it is of the driver {}; set artifacts.driver, too", of.join(" or "));
            Err(layers.refuse(stray.key, &why))
        }
    }
}

/// What was given of the driver's place: its options and their values.
fn given(layers: &Layers, info: &DriverInfo) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let mut given = Vec::new();
    for Place { key, option, takes, needed, .. } in PLACES.iter().filter(|place| place.driver == info.name) {
        if !layers.has(key) {
            if let Some(example) = needed {
                let why = format!("the driver {} needs {key}, such as {example}", info.name);
                return Err(layers.refuse("artifacts.driver", &why));
            }
            continue;
        }
        let value = match takes {
            Takes::Switch => layers.get(key, value::switch)?.map(Value::Bool),
            Takes::Path(_) | Takes::Url(..) | Takes::Text => layers.get(key, value::text)?.map(Value::String),
        };
        if let Some(Value::String(text)) = &value
            && let Some(why) = takes.refuses(info, text)
        {
            return Err(layers.refuse(key, &why));
        }
        given.extend(value.map(|value| (*option, value)));
    }
    for (one, other) in COUPLES.iter().flat_map(|(one, other)| [(one, other), (other, one)]) {
        if keys_of(info).any(|key| key == *one) && layers.has(one) && !layers.has(other) {
            return Err(layers.refuse(one, &format!("it comes with {other}; set both, or neither")));
        }
    }
    Ok(given)
}

/// The keys of a driver's place.
fn keys_of(info: &DriverInfo) -> impl Iterator<Item = &'static str> {
    PLACES.iter().filter(|place| place.driver == info.name).map(|place| place.key)
}

impl Takes {
    /// Why `text` is not what the key takes. It is not repeated: there may be a password in it.
    fn refuses(self, info: &DriverInfo, text: &str) -> Option<String> {
        match self {
            Self::Path(example) => {
                let is_url = text.contains("://") || text.starts_with(&format!("{}:", info.name));
                is_url.then(|| format!("it takes a path such as {example}, and no URL"))
            }
            Self::Url(schemes, example) => {
                if !text.split_once("://").is_some_and(|(scheme, _)| schemes.contains(&scheme)) {
                    return Some(format!("the driver {} takes a URL such as {example}", info.name));
                }
                // The URL goes to the database's client, which would not know the driver's options.
                let names = text.split_once('?').map_or("", |(_, query)| query).split('&');
                let mut names = names.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
                names.find_map(|name| key_of(info, name)).map(|key| {
                    format!(
                        "the URL is for the database alone; what it says of the store is written as {key}"
                    )
                })
            }
            Self::Text | Self::Switch => None,
        }
    }
}

/// The key of what a store's URL may say, and a database's may not.
fn key_of(info: &DriverInfo, name: &str) -> Option<String> {
    match name {
        "verify_reads" | "cursor_secret" => Some(format!("artifacts.{name}")),
        _ => info.options.iter().any(|spec| spec.name == name).then(|| format!("artifacts.options.{name}")),
    }
}
