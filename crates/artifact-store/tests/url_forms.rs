//! What the parts of a store URL become: options of the driver, as its form says.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::sync::{Arc, Mutex};

use artifact_store::core::{OptionKind, OptionSpec, Options, async_trait};
use artifact_store::prelude::*;
use artifact_store::{
    Ability, Capabilities, Clock, Driver, DriverInfo, Registry, Swept, UrlForm, VerifyReads, abilities_with,
    open_with,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

/// Keeps the options that it was opened with.
#[derive(Debug)]
struct Told {
    info: &'static DriverInfo,
    options: Mutex<Option<Options>>,
}

const fn text(name: &'static str) -> OptionSpec {
    OptionSpec { name, kind: OptionKind::Text, default: None, required: false, about: "a test" }
}

static OPTIONS: &[OptionSpec] = &[text("place"), text("within"), text("extra"), text("max_artifact_bytes")];

const fn told(name: &'static str, url: UrlForm) -> DriverInfo {
    DriverInfo { name, about: "a test", options: OPTIONS, url, bytes_cannot_change: false }
}

static DATABASE: DriverInfo = told("db", UrlForm::Whole("place"));
static OBJECTS: DriverInfo = told("objects", UrlForm::HostAndPath { host: "place", path: "within" });
static FOLDER: DriverInfo = told("folder", UrlForm::Path("place"));

#[async_trait]
impl Driver for Told {
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

    async fn abilities(&self, options: &Options) -> Result<Vec<Ability>, StoreError> {
        let value = options.text("place").unwrap_or_default().to_owned();
        Ok(vec![Ability { name: "place", value, about: "as it was told".into() }])
    }

    async fn sweep(&self, _options: &Options) -> Result<Swept, StoreError> {
        Ok(Swept::default())
    }
}

/// What place, within and extra are once `config` is opened.
async fn opened(config: &Config) -> [Option<String>; 3] {
    let mut registry = Registry::new();
    let mut drivers = Vec::new();
    for info in [&DATABASE, &OBJECTS, &FOLDER] {
        let driver = Arc::new(Told { info, options: Mutex::new(None) });
        registry.register(Arc::clone(&driver) as Arc<dyn Driver>).unwrap();
        drivers.push(driver);
    }
    open_with(&registry, config).await.unwrap();
    let told = drivers.iter().find_map(|driver| driver.options.lock().unwrap().take()).unwrap();
    ["place", "within", "extra"].map(|name| told.text(name).map(ToOwned::to_owned))
}

#[tokio::test]
async fn the_parts_of_a_url_become_the_options_that_its_form_says() {
    for (url, place, within, extra) in [
        // A path: decoded.
        ("folder:a/b%20c?extra=d%26e", "a/b c", None, Some("d&e")),
        ("folder:///a/b%3F", "/a/b?", None, None),
        // Host and path: decoded.
        ("objects://bucket", "bucket", None, None),
        ("objects://bucket/", "bucket", None, None),
        ("objects://bucket/a/b%20c/?extra=d%2Fe", "bucket", Some("a/b c/"), Some("d/e")),
        ("objects://bucket?within=a", "bucket", Some("a"), None),
        ("objects:?place=bucket", "bucket", None, None),
        // A whole URL: as it was written, without what is an option.
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
        ("db:?place=db%3A%2F%2Fhost", "db://host", None, None),
    ] {
        let [at, in_it, beside] = opened(&url.parse().unwrap()).await;
        assert_eq!(at.as_deref(), Some(place), "{url}");
        assert_eq!((in_it.as_deref(), beside.as_deref()), (within, extra), "{url}");
    }
}

#[tokio::test]
async fn the_configurations_own_names_are_taken_out_of_every_form() {
    for url in ["db://host/name", "objects://bucket", "folder:a"] {
        let url = format!("{url}?verify_reads=never&max_artifact_bytes=4KiB");
        let config: Config = url.parse().unwrap();
        assert_eq!(config.verify_reads, VerifyReads::Never, "{url}");
        assert_eq!(config.max_artifact_bytes, Some(4096), "{url}");
        opened(&config).await;
    }
}

#[tokio::test]
async fn what_is_set_by_name_stands_over_the_urls_parameters() {
    for url in ["db://host/name?extra=url", "objects://bucket?extra=url", "folder:a?extra=url"] {
        let config = url.parse::<Config>().unwrap().option("extra", "name");
        assert_eq!(opened(&config).await[2].as_deref(), Some("name"), "{url}");
    }
}

#[tokio::test]
async fn the_abilities_of_a_place_are_those_of_its_url() {
    let mut registry = Registry::new();
    registry.register(Arc::new(Told { info: &OBJECTS, options: Mutex::new(None) })).unwrap();
    let abilities = abilities_with(&registry, &"objects://bucket".parse().unwrap()).await.unwrap();
    assert_eq!(abilities.iter().map(|ability| &*ability.value).collect::<Vec<_>>(), ["bucket"]);
}

#[test]
fn a_url_does_not_show_in_debug_output() {
    for url in ["db://ada:hunter2@host/name?extra=hunter2", "objects://hunter2/hunter2", "folder:hunter2"] {
        let config: Config = url.parse().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
}

#[test]
fn a_refusal_is_short_however_long_the_url_is() {
    let long = "a".repeat(5000);
    for url in [
        format!("folder:x?{long}"),
        format!("folder:x?{long}=1"),
        format!("folder:x?{long}=1&{long}=2"),
        format!("{long}:x"),
        long,
    ] {
        let refused = url.parse::<Config>().expect_err("no option and no driver is called so").to_string();
        assert!(refused.len() < 300, "{refused}");
    }
}

#[test]
fn a_form_is_written_with_the_names_of_its_options() {
    for (form, pattern) in [
        (UrlForm::Nothing, "x:"),
        (UrlForm::Path("root"), "x:root"),
        (UrlForm::HostAndPath { host: "bucket", path: "prefix" }, "x://bucket/prefix"),
        (UrlForm::Whole("url"), "x://…"),
    ] {
        assert_eq!(form.pattern("x"), pattern);
    }
}
