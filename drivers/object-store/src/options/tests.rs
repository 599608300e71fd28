//! The defaults of the tables are those of the builders.

use std::sync::Arc;

use artifact_store_core::{Options, SystemClock};

use super::*;

/// Fails if the table `specs` of the driver `name` has another default than [`Tuning::default`]. `required` are the
/// options that must be set.
fn assert_same_defaults(name: &str, specs: &'static [OptionSpec], required: &[&str]) {
    let given = required.iter().map(|option| ((*option).to_owned(), "artifacts".into()));
    let options = Options::parse(name, specs, given).unwrap();
    let from_options = Tuning::from_options(&options, Arc::new(SystemClock));
    assert_eq!(format!("{from_options:?}"), format!("{:?}", Tuning::default()), "{name}");
}

#[cfg(feature = "gcs")]
#[test]
fn the_options_of_gcs_have_the_defaults_of_its_builder() {
    assert_same_defaults("gcs", GCS_OPTIONS, &["bucket"]);
}

#[cfg(feature = "azure")]
#[test]
fn the_options_of_azure_have_the_defaults_of_its_builder() {
    assert_same_defaults("azure", AZURE_OPTIONS, &["account", "container"]);
}
