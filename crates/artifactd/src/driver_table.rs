//! The drivers of a registry with their capabilities and options, as data. This module must never know how the data is
//! printed.

use std::time::Duration;

use artifact_store::core::{OptionSpec, Options};
use artifact_store::{Capabilities, DriverInfo, Registry, StoreError, StoreFeature};
use indicatif::BinaryBytes;
use serde::Serialize;

/// A driver with its options and capabilities. If a store is open, the capabilities are those of the store. If no store
/// is open, they are those of the driver with default options.
#[derive(Serialize)]
pub(crate) struct DriverDescription {
    pub(crate) driver: &'static str,
    pub(crate) about: &'static str,
    pub(crate) capabilities: Capabilities,
    /// The form of a store URL, with the names of options in place of their values.
    pub(crate) url: String,
    /// The features of the storage of an open store. `None` if no store is open.
    #[serde(rename = "abilities", skip_serializing_if = "Option::is_none")]
    pub(crate) features: Option<Vec<StoreFeature>>,
    pub(crate) options: Vec<OptionDescription>,
}

/// An option of a driver.
#[derive(Serialize)]
pub(crate) struct OptionDescription {
    pub(crate) name: &'static str,
    /// The legal values.
    #[serde(rename = "takes")]
    pub(crate) expected: String,
    pub(crate) default: Option<&'static str>,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
}

impl DriverDescription {
    /// A description without features.
    pub(crate) fn new(info: &DriverInfo, capabilities: Capabilities) -> Self {
        let options = info.options.iter().map(|spec| {
            let OptionSpec { name, kind, default, required, about } = *spec;
            OptionDescription { name, expected: kind.expected(), default, required, about }
        });
        let url = info.url.pattern(info.name);
        let DriverInfo { name: driver, about, .. } = *info;
        Self { driver, about, capabilities, url, features: None, options: options.collect() }
    }

    /// All drivers of `registry`, with their capabilities with default options.
    ///
    /// # Errors
    /// The table of options of a driver is wrong.
    pub(crate) fn all(registry: &Registry) -> Result<Vec<Self>, StoreError> {
        let mut descriptions = Vec::new();
        for driver in registry.drivers() {
            let info = driver.info();
            let defaults = Options::defaults(info.options)?;
            descriptions.push(Self::new(info, driver.capabilities(&defaults)));
        }
        Ok(descriptions)
    }
}

/// The names of the limits, as column titles. A table shows these columns after the columns of the flags.
pub(crate) const LIMIT_COLUMNS: [&str; 2] = ["max_artifact_bytes", "max_presign_expiry"];

/// The size limit of an artifact, as text. `u64::MAX` means that there is no limit.
pub(crate) fn artifact_bytes_limit(capabilities: Capabilities) -> String {
    match capabilities.artifact_bytes_limit() {
        u64::MAX => "no limit".to_owned(),
        bytes => BinaryBytes(bytes).to_string(),
    }
}

/// The longest expiry of a presigned URL, as text. `None` if the store presigns no URLs.
pub(crate) fn presign_expiry_limit(capabilities: Capabilities) -> Option<String> {
    let expiry = capabilities.presign_expiry_limit();
    (expiry != Duration::ZERO).then(|| format!("{} s", expiry.as_secs()))
}
