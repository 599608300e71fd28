//! Store URLs: their content reaches the driver unchanged, and no error and no debug output repeats a value.

use std::sync::{Arc, Mutex};

use artifact_store::{Config, Driver, DriverInfo, Registry, UrlForm, open_with};
use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, ErrorKind, OptionKind, OptionSpec, Options, StoreError, SweepMode,
    SweepSummary, async_trait,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{assert_one_line, block_on, split_field, text};

/// A secret that must never be printed. No name contains its exclamation mark.
pub const SECRET: &str = "hunter2!";

const OPTIONS: &[OptionSpec] = &[
    option("root", OptionKind::Text),
    option("host", OptionKind::Text),
    option("size", OptionKind::Size),
    option("wait", OptionKind::Duration),
    option("count", OptionKind::Count),
    option("on", OptionKind::Bool),
    option("word", OptionKind::Choice(&["one", "two"])),
];

const fn option(name: &'static str, kind: OptionKind) -> OptionSpec {
    OptionSpec { name, kind, default: None, required: false, about: "An option." }
}

const fn info(name: &'static str, url: UrlForm) -> DriverInfo {
    DriverInfo { name, about: "A driver of the tests.", options: OPTIONS, url, bytes_cannot_change: false }
}

static NOTHING: DriverInfo = info("nothing", UrlForm::SchemeOnly);
static PATH: DriverInfo = info("path", UrlForm::Path("root"));
static HOST: DriverInfo = info("host", UrlForm::HostAndPath { scheme: None, host: "host", path: "root" });
static WHOLE: DriverInfo = info("whole", UrlForm::FullUrl("root"));

/// A driver that opens nothing and records the options it was called with.
#[derive(Debug)]
struct RecordingDriver(&'static DriverInfo, Mutex<Option<Options>>);

#[async_trait]
impl Driver for RecordingDriver {
    fn info(&self) -> &'static DriverInfo {
        self.0
    }

    fn capabilities(&self, _: &Options) -> Capabilities {
        Capabilities::new()
    }

    async fn open(&self, options: &Options, _: Arc<dyn Clock>) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        *self.1.lock().unwrap() = Some(options.clone());
        Err(StoreError::unavailable("nothing is opened"))
    }

    async fn sweep(&self, _: &Options, _: SweepMode) -> Result<SweepSummary, StoreError> {
        Ok(SweepSummary::default())
    }
}

/// The options with which the driver is opened for a configuration.
fn opened_options(config: &Config) -> Result<Options, StoreError> {
    let drivers =
        [&NOTHING, &PATH, &HOST, &WHOLE].map(|info| Arc::new(RecordingDriver(info, Mutex::default())));
    let mut registry = Registry::new();
    for driver in &drivers {
        let driver: Arc<dyn Driver> = Arc::<RecordingDriver>::clone(driver);
        registry.register(driver).unwrap();
    }
    let error = block_on(open_with(&registry, config)).expect_err("nothing is opened");
    match drivers.iter().find_map(|driver| driver.1.lock().unwrap().take()) {
        Some(options) => Ok(options),
        None => Err(error),
    }
}

/// Fields: `p`, a path and a value; or a URL in which each `@` is replaced by a secret.
pub fn any(data: &[u8]) {
    let (kind, rest) = split_field(data);
    if kind == b"p" {
        let (path, value) = split_field(rest);
        check_path_and_value(&text(path), &text(value));
    } else {
        check_url(&text(data));
        check_url(&text(data).replace('@', SECRET));
    }
}

/// A URL is a configuration or is refused, and neither shows a value.
pub fn check_url(url: &str) {
    let assert_no_secret = |said: &str| assert!(!said.contains(SECRET) || is_scheme_of(url), "{said}");
    let config: Config = match url.parse() {
        Ok(config) => config,
        Err(error) => {
            let error: StoreError = error;
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert_no_secret(&error.to_string());
            return assert_one_line(&error.to_string(), 1000);
        }
    };
    assert_no_secret(&format!("{config:?}"));
    let scheme = url.split(':').next().unwrap();
    assert_eq!(config.driver, scheme);
    let again: Config = url.parse().unwrap();
    assert!(again == config, "parsing a URL twice gives different results");
    match opened_options(&config) {
        Ok(options) => assert_no_secret(&format!("{options:?}")),
        Err(error) => {
            assert_no_secret(&error.to_string());
            assert_one_line(&error.to_string(), 1000);
        }
    }
}

/// A scheme has no exclamation mark, so nothing that was parsed shows one.
fn is_scheme_of(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| scheme.contains(SECRET))
}

/// A path and a value that are escaped into a URL reach the driver unchanged.
pub fn check_path_and_value(path: &str, value: &str) {
    let (written, said) = (percent_encode(path), percent_encode(value));
    let root = |url: String| {
        let config: Config = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        opened_options(&config).map(|options| options.text("root").map(str::to_owned))
    };
    let expected = Some(path).filter(|path| !path.is_empty()).map(str::to_owned);
    let whole = format!("whole://{written}");
    assert_eq!(root(format!("path:{written}")).unwrap(), expected);
    assert_eq!(root(format!("path:///{written}")).unwrap(), Some(format!("/{path}")));
    assert!(root(format!("host://h/{written}?host=h")).is_err(), "a host was given twice");
    assert_eq!(root(format!("host://h/{written}")).unwrap(), expected);
    assert_eq!(root(whole.clone()).unwrap(), Some(whole));
    assert_eq!(root(format!("nothing:?root={written}")).unwrap().as_deref(), Some(path));
    assert_eq!(root(format!("nothing:{written}")).is_ok(), path.is_empty());

    let config: Config = format!("path:x?host={said}&word=two").parse().unwrap();
    let options = opened_options(&config).unwrap();
    assert_eq!((options.text("host"), options.text("word")), (Some(value), Some("two")));
    assert!(root(format!("path:{written}x?root={said}")).is_err(), "a path was given twice");
    let secret: Config = format!("path:?cursor_secret={said}").parse().unwrap();
    assert_eq!(secret.cursor_secret.as_ref().map(artifact_store::Secret::reveal), Some(value));
}

fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
