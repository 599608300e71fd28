//! Drivers and options are found by name. The error for an unknown name lists the known ones.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, ErrorKind, OptionKind, OptionSpec, Options,
    Registry, StoreError, SweepMode, SweepSummary, UrlForm, async_trait,
};
use artifact_store_inmem::InmemDriver;
use serde_json::{Value, json};

const fn spec(name: &'static str, kind: OptionKind, default: Option<&'static str>) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, about: "a test" }
}

static SPECS: &[OptionSpec] = &[
    OptionSpec { name: "root", kind: OptionKind::Text, default: None, required: true, about: "where" },
    spec("chunk", OptionKind::Size, Some("64KiB")),
    spec("wait", OptionKind::Duration, Some("5s")),
    spec("pool", OptionKind::Count, Some("4")),
    spec("create", OptionKind::Bool, Some("true")),
    spec("sync", OptionKind::Choice(&["always", "never"]), Some("always")),
    spec("label", OptionKind::Text, None),
];

fn parse(given: Value) -> Result<Options, String> {
    let Value::Object(given) = given else { panic!("not an object") };
    Options::parse("test", SPECS, given).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    })
}

#[test]
fn defaults_are_filled_in() {
    let options = parse(json!({"root": "/x"})).unwrap();
    assert_eq!(options.text("root"), Some("/x"));
    assert_eq!(options.number("chunk"), Some(65_536));
    assert_eq!(options.duration("wait"), Some(Duration::from_secs(5)));
    assert_eq!(options.number("pool"), Some(4));
    assert_eq!(options.bool("create"), Some(true));
    assert_eq!(options.text("sync"), Some("always"));
    assert_eq!(options.text("label"), None);
}

#[test]
fn an_example_replaces_a_required_option_that_was_not_given() {
    let options = Options::defaults(SPECS).unwrap();
    assert!(options.text("root").is_some());
    assert_eq!(options.text("sync"), Some("always"));
    assert_eq!(options.text("label"), None);
}

#[test]
fn values_are_parsed_from_json_or_text() {
    let typed =
        json!({"root": "/x", "chunk": 4096, "wait": "250ms", "pool": 9, "create": false, "sync": "never"});
    let texts = json!({"root": "/x", "chunk": "4KiB", "wait": "250ms", "pool": "9", "create": "false", "sync": "never"});
    assert_eq!(parse(typed).unwrap(), parse(texts).unwrap());
}

#[test]
fn an_error_names_the_option_and_the_valid_values() {
    for (given, says) in [
        (json!({}), "the option 'root' is missing; the driver test needs it: where"),
        (
            json!({"root": "/x", "synk": "never"}),
            "no option 'synk'; did you mean 'sync'? known: chunk, create,",
        ),
        (json!({"root": "/x", "sync": "sometimes"}), "it takes one of always, never"),
        (json!({"root": "/x", "chunk": "64 KB"}), "it takes a size in bytes such as 4096, 64KiB or 4MiB"),
        (json!({"root": "/x", "chunk": -1}), "it takes a size"),
        (json!({"root": "/x", "chunk": "99999999999999999999"}), "it takes a size"),
        (json!({"root": "/x", "wait": 5}), "it takes a duration such as 250ms"),
        (json!({"root": "/x", "pool": 1.5}), "it takes a whole number"),
        (json!({"root": "/x", "create": "yes"}), "it takes true or false"),
        (json!({"root": 7}), "it takes a text"),
    ] {
        let error = parse(given.clone()).unwrap_err();
        assert!(error.contains(says), "{given}: {error}");
    }
}

#[test]
fn values_never_show_in_errors_or_debug_output() {
    let error = parse(json!({"root": "/x", "chunk": "hunter2"})).unwrap_err();
    assert!(!error.contains("hunter2"));
    let options = parse(json!({"root": "/x", "label": "hunter2"})).unwrap();
    assert!(!format!("{options:?}").contains("hunter2"));
}

#[test]
fn a_second_driver_with_the_same_name_is_an_error() {
    let mut registry = Registry::new();
    registry.register(Arc::new(InmemDriver)).unwrap();
    let error = registry.register(Arc::new(InmemDriver)).unwrap_err();
    assert_eq!(error.to_string(), "a driver 'inmem' is already registered");
}

/// A driver that cannot be opened.
#[derive(Debug)]
struct ClosedDriver(&'static DriverInfo);

#[async_trait]
impl Driver for ClosedDriver {
    fn info(&self) -> &'static DriverInfo {
        self.0
    }
    fn capabilities(&self, _: &Options) -> Capabilities {
        Capabilities::new()
    }
    async fn open(&self, _: &Options, _: Arc<dyn Clock>) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Err(StoreError::closed())
    }
    async fn sweep(&self, _: &Options, _: SweepMode) -> Result<SweepSummary, StoreError> {
        Err(StoreError::closed())
    }
}

/// The result of registering a driver `name` whose URLs have the scheme `scheme`, beside the driver `inmem`.
fn register(name: &'static str, scheme: &'static str) -> Result<(), String> {
    let url = UrlForm::HostAndPath { scheme: Some(scheme), host: "bucket", path: "prefix" };
    let info = DriverInfo { name, about: "A test.", options: &[], url, bytes_cannot_change: false };
    let mut registry = Registry::new();
    registry.register(Arc::new(InmemDriver)).unwrap();
    registry.register(Arc::new(ClosedDriver(Box::leak(Box::new(info))))).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(registry.drivers().count(), 1);
        error.to_string()
    })
}

#[test]
fn a_name_and_a_scheme_have_lower_case_letters_and_digits_only() {
    assert_eq!(register("gcs2", "gs"), Ok(()));
    let rule = "it takes lower-case letters and digits and starts with a letter";
    for bad in ["G_S", "gS", "g-s", "2gs", "g s", ""] {
        assert_eq!(register(bad, "gs"), Err(format!("'{bad}' is not a driver name; {rule}")));
        assert_eq!(register("gcs", bad), Err(format!("'{bad}' is not the scheme of a driver; {rule}")));
    }
    assert_eq!(register("gcs", "inmem"), Err("a driver 'inmem' is already registered".to_owned()));
}

#[test]
fn an_unknown_driver_lists_the_known_ones() {
    let mut registry = Registry::new();
    registry.register(Arc::new(InmemDriver)).unwrap();
    let error = registry.driver("inmen").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.to_string(), "there is no driver 'inmen'; did you mean 'inmem'? known: inmem");
    assert_eq!(
        Registry::new().driver("s3").unwrap_err().to_string(),
        "there is no driver 's3'; none are known"
    );
    assert!(registry.driver("inmem").is_ok());
}

#[test]
fn a_url_in_place_of_a_drivers_name_is_not_repeated_because_it_may_have_a_password() {
    let mut registry = Registry::new();
    registry.register(Arc::new(InmemDriver)).unwrap();
    let error = registry.driver("postgres://ada:hunter2@db/artifacts").unwrap_err();
    assert_eq!(error.to_string(), "a URL is not the name of a driver; known: inmem");
}

#[test]
fn a_missing_driver_that_is_explained_says_how_to_get_it_until_it_is_registered() {
    let mut registry = Registry::new();
    registry.explain_missing("inmem", "is not compiled in; enable the feature `inmem`");
    let error = registry.driver("inmem").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.to_string(), "the driver inmem is not compiled in; enable the feature `inmem`");
    assert_eq!(
        registry.driver("inmen").unwrap_err().to_string(),
        "there is no driver 'inmen'; none are known"
    );
    registry.register(Arc::new(InmemDriver)).unwrap();
    assert!(registry.driver("inmem").is_ok());
    assert_eq!(registry.drivers().count(), 1);
}
