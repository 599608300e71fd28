//! The parts of a store URL become options of the driver, according to its URL form.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::sync::{Arc, Mutex};

use artifact_store::core::{OptionKind, OptionSpec, Options, async_trait};
use artifact_store::prelude::*;
use artifact_store::{
    Capabilities, Clock, Driver, DriverInfo, Registry, StoreFeature, SweepMode, SweepSummary, UrlForm,
    VerifyReads, open_with, store_features_with,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

/// Records the options that it was opened with.
#[derive(Debug)]
struct RecordingDriver {
    info: &'static DriverInfo,
    options: Mutex<Option<Options>>,
}

const fn text(name: &'static str) -> OptionSpec {
    OptionSpec { name, kind: OptionKind::Text, default: None, required: false, about: "a test" }
}

static OPTIONS: &[OptionSpec] =
    &[text("location"), text("within"), text("extra"), text("max_artifact_bytes")];

const fn driver_info(name: &'static str, url: UrlForm) -> DriverInfo {
    DriverInfo { name, about: "a test", options: OPTIONS, url, bytes_cannot_change: false }
}

static DATABASE: DriverInfo = driver_info("db", UrlForm::FullUrl("location"));
static OBJECTS: DriverInfo =
    driver_info("objects", UrlForm::HostAndPath { scheme: None, host: "location", path: "within" });
static CLOUD: DriverInfo =
    driver_info("cloud", UrlForm::HostAndPath { scheme: Some("cl"), host: "location", path: "within" });
static FOLDER: DriverInfo = driver_info("folder", UrlForm::Path("location"));

#[async_trait]
impl Driver for RecordingDriver {
    fn info(&self) -> &'static DriverInfo {
        self.info
    }

    fn capabilities(&self, _options: &Options) -> Capabilities {
        Capabilities::new()
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        *self.options.lock().unwrap() = Some(options.clone());
        Ok(Arc::new(InmemStore::new(InmemConfig::new().clock(clock))))
    }

    async fn store_features(&self, options: &Options) -> Result<Vec<StoreFeature>, StoreError> {
        let value = options.text("location").unwrap_or_default().to_owned();
        Ok(vec![StoreFeature { name: "location", value, about: "the location".into() }])
    }

    async fn sweep(&self, _: &Options, _: SweepMode) -> Result<SweepSummary, StoreError> {
        Ok(SweepSummary::default())
    }
}

/// Opens `config` and returns the options `location`, `within` and `extra`.
async fn open_options(config: &Config) -> [Option<String>; 3] {
    let mut registry = Registry::new();
    let mut drivers = Vec::new();
    for info in [&DATABASE, &OBJECTS, &CLOUD, &FOLDER] {
        let driver = Arc::new(RecordingDriver { info, options: Mutex::new(None) });
        registry.register(Arc::clone(&driver) as Arc<dyn Driver>).unwrap();
        drivers.push(driver);
    }
    open_with(&registry, config).await.unwrap();
    let options = drivers.iter().find_map(|driver| driver.options.lock().unwrap().take()).unwrap();
    ["location", "within", "extra"].map(|name| options.text(name).map(ToOwned::to_owned))
}

#[tokio::test]
async fn the_parts_of_a_url_become_the_options_of_its_form() {
    for (url, location, within, extra) in [
        // A path: decoded.
        ("folder:a/b%20c?extra=d%26e", "a/b c", None, Some("d&e")),
        ("folder:///a/b%3F", "/a/b?", None, None),
        // Host and path: decoded.
        ("objects://bucket", "bucket", None, None),
        ("objects://bucket/", "bucket", None, None),
        ("objects://bucket/a/b%20c/?extra=d%2Fe", "bucket", Some("a/b c/"), Some("d/e")),
        ("objects://bucket?within=a", "bucket", Some("a"), None),
        ("objects:?location=bucket", "bucket", None, None),
        // The scheme of a driver may differ from its name. Both work.
        ("cl://bucket/a?extra=b", "bucket", Some("a"), Some("b")),
        ("cloud://bucket/a", "bucket", Some("a"), None),
        // A full URL: as it was written, without the parameters that are options.
        ("db://host/name", "db://host/name", None, None),
        ("db://", "db://", None, None),
        ("db:///name?host=%2Frun", "db:///name?host=%2Frun", None, None),
        (
            "db://ada:p%40s%3As%2Fw%25rd@host:5432/name",
            "db://ada:p%40s%3As%2Fw%25rd@host:5432/name",
            None,
            None,
        ),
        (
            "db://ada:pw@[::1]:5432/name?mode=require&extra=a%20b&options[x]=%2D1&within=c&empty=&bare",
            "db://ada:pw@[::1]:5432/name?mode=require&options[x]=%2D1&empty=&bare",
            Some("c"),
            Some("a b"),
        ),
        ("db://host/name?extra=a", "db://host/name", None, Some("a")),
        ("db://host/name?verify_reads=never&mode=on", "db://host/name?mode=on", None, None),
        ("db:?location=db%3A%2F%2Fhost", "db://host", None, None),
    ] {
        let [actual_location, actual_within, actual_extra] = open_options(&url.parse().unwrap()).await;
        assert_eq!(actual_location.as_deref(), Some(location), "{url}");
        assert_eq!((actual_within.as_deref(), actual_extra.as_deref()), (within, extra), "{url}");
    }
}

#[tokio::test]
async fn the_configurations_own_keys_are_removed_from_every_form() {
    for url in ["db://host/name", "objects://bucket", "folder:a"] {
        let url = format!("{url}?verify_reads=never&max_artifact_bytes=4KiB");
        let config: Config = url.parse().unwrap();
        assert_eq!(config.verify_reads, VerifyReads::Never, "{url}");
        assert_eq!(config.max_artifact_bytes, Some(4096), "{url}");
        open_options(&config).await;
    }
}

#[tokio::test]
async fn an_option_set_by_name_overrides_the_urls_parameter() {
    for url in ["db://host/name?extra=url", "objects://bucket?extra=url", "folder:a?extra=url"] {
        let config = url.parse::<Config>().unwrap().option("extra", "name");
        assert_eq!(open_options(&config).await[2].as_deref(), Some("name"), "{url}");
    }
}

#[tokio::test]
async fn the_store_features_are_those_of_the_urls_location() {
    let mut registry = Registry::new();
    registry.register(Arc::new(RecordingDriver { info: &OBJECTS, options: Mutex::new(None) })).unwrap();
    let features = store_features_with(&registry, &"objects://bucket".parse().unwrap()).await.unwrap();
    assert_eq!(features.iter().map(|feature| &*feature.value).collect::<Vec<_>>(), ["bucket"]);
}

#[test]
fn a_url_does_not_show_in_debug_output() {
    for url in ["db://ada:hunter2@host/name?extra=hunter2", "objects://hunter2/hunter2", "folder:hunter2"] {
        let config: Config = url.parse().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
}

#[test]
fn an_error_is_short_even_if_the_url_is_long() {
    let long = "a".repeat(5000);
    for url in [
        format!("folder:x?{long}"),
        format!("folder:x?{long}=1"),
        format!("folder:x?{long}=1&{long}=2"),
        format!("{long}:x"),
        long,
    ] {
        let error = url.parse::<Config>().expect_err("no option and no driver has this name").to_string();
        assert!(error.len() < 300, "{error}");
    }
}

#[test]
fn a_url_form_is_written_with_the_names_of_its_options() {
    for (form, pattern) in [
        (UrlForm::SchemeOnly, "x:"),
        (UrlForm::Path("root"), "x:root"),
        (UrlForm::HostAndPath { scheme: None, host: "bucket", path: "prefix" }, "x://bucket/prefix"),
        (UrlForm::HostAndPath { scheme: Some("y"), host: "bucket", path: "prefix" }, "y://bucket/prefix"),
        (UrlForm::FullUrl("url"), "x://…"),
    ] {
        assert_eq!(form.pattern("x"), pattern);
    }
}

#[tokio::test]
async fn an_error_about_a_url_names_the_scheme_that_the_user_writes() {
    let mut registry = Registry::new();
    registry.register(Arc::new(RecordingDriver { info: &CLOUD, options: Mutex::new(None) })).unwrap();
    for (url, expected) in [
        ("cl:bucket", "the driver cloud has no path; write cl://location/within"),
        (
            "cl://ada:hunter2@bucket",
            "the URL cl://… holds a user, a password or a port; it takes cl://location/within",
        ),
    ] {
        let error = open_with(&registry, &url.parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_scheme_belongs_to_one_driver() {
    static NAMED_LIKE_THE_SCHEME: DriverInfo = driver_info("cl", UrlForm::SchemeOnly);
    let driver = |info| Arc::new(RecordingDriver { info, options: Mutex::new(None) });
    for (first, second) in [(&CLOUD, &NAMED_LIKE_THE_SCHEME), (&NAMED_LIKE_THE_SCHEME, &CLOUD)] {
        let mut registry = Registry::new();
        registry.register(driver(first)).unwrap();
        let error = registry.register(driver(second)).unwrap_err();
        assert_eq!(error.to_string(), "a driver 'cl' is already registered");
    }
}
