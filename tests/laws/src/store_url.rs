//! URLs of stores: what stands in them reaches the driver as it was meant, and no error and no debug output repeats a value.

use std::sync::{Arc, Mutex};

use artifact_store::{Config, Driver, DriverInfo, Registry, UrlForm, open_with};
use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, ErrorKind, OptionKind, OptionSpec, Options, StoreError, Swept,
    async_trait,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{block_on, field, is_line, text};

/// A value that must never be seen again. No name of anything can hold its exclamation mark.
pub const SECRET: &str = "hunter2!";

const OPTIONS: &[OptionSpec] = &[
    option("root", OptionKind::Text),
    option("host", OptionKind::Text),
    option("size", OptionKind::Size),
    option("wait", OptionKind::Duration),
    option("count", OptionKind::Count),
    option("on", OptionKind::Switch),
    option("word", OptionKind::Word(&["one", "two"])),
];

const fn option(name: &'static str, kind: OptionKind) -> OptionSpec {
    OptionSpec { name, kind, default: None, required: false, about: "An option." }
}

const fn info(name: &'static str, url: UrlForm) -> DriverInfo {
    DriverInfo { name, about: "A driver of the tests.", options: OPTIONS, url, bytes_cannot_change: false }
}

static NOTHING: DriverInfo = info("nothing", UrlForm::Nothing);
static PATH: DriverInfo = info("path", UrlForm::Path("root"));
static HOST: DriverInfo = info("host", UrlForm::HostAndPath { host: "host", path: "root" });
static WHOLE: DriverInfo = info("whole", UrlForm::Whole("root"));

/// A driver that opens nothing and remembers the options which it was asked to open.
#[derive(Debug)]
struct Asked(&'static DriverInfo, Mutex<Option<Options>>);

#[async_trait]
impl Driver for Asked {
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

    async fn sweep(&self, _: &Options) -> Result<Swept, StoreError> {
        Ok(Swept::default())
    }
}

/// What the driver is asked to open for a configuration.
fn asked(config: &Config) -> Result<Options, StoreError> {
    let drivers = [&NOTHING, &PATH, &HOST, &WHOLE].map(|info| Arc::new(Asked(info, Mutex::default())));
    let mut registry = Registry::new();
    for driver in &drivers {
        let driver: Arc<dyn Driver> = Arc::<Asked>::clone(driver);
        registry.register(driver).unwrap();
    }
    let error = block_on(open_with(&registry, config)).expect_err("nothing is opened");
    match drivers.iter().find_map(|driver| driver.1.lock().unwrap().take()) {
        Some(options) => Ok(options),
        None => Err(error),
    }
}

/// Fields: `p`, and what a place and a value are made of; or a URL, in which each `@` becomes a secret.
pub fn any(data: &[u8]) {
    let (kind, rest) = field(data);
    if kind == b"p" {
        let (place, value) = field(rest);
        means_its_place(&text(place), &text(value));
    } else {
        holds(&text(data));
        holds(&text(data).replace('@', SECRET));
    }
}

/// A URL is a configuration or is refused, and neither shows a value.
pub fn holds(url: &str) {
    let silent = |said: &str| assert!(!said.contains(SECRET) || is_scheme_of(url), "{said}");
    let config: Config = match url.parse() {
        Ok(config) => config,
        Err(error) => {
            let error: StoreError = error;
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            silent(&error.to_string());
            return is_line(&error.to_string(), 1000);
        }
    };
    silent(&format!("{config:?}"));
    let scheme = url.split(':').next().unwrap();
    assert_eq!(config.driver, scheme);
    let again: Config = url.parse().unwrap();
    assert!(again == config, "a URL is not always the same");
    match asked(&config) {
        Ok(options) => silent(&format!("{options:?}")),
        Err(error) => {
            silent(&error.to_string());
            is_line(&error.to_string(), 1000);
        }
    }
}

/// No scheme has an exclamation mark, so nothing that is parsed shows one.
fn is_scheme_of(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| scheme.contains(SECRET))
}

/// A place and a value that are written into a URL, escaped, come out as they were.
pub fn means_its_place(place: &str, value: &str) {
    let (written, said) = (encoded(place), encoded(value));
    let root = |url: String| {
        let config: Config = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        asked(&config).map(|options| options.text("root").map(str::to_owned))
    };
    let placed = Some(place).filter(|place| !place.is_empty()).map(str::to_owned);
    let whole = format!("whole://{written}");
    assert_eq!(root(format!("path:{written}")).unwrap(), placed);
    assert_eq!(root(format!("path:///{written}")).unwrap(), Some(format!("/{place}")));
    assert!(root(format!("host://h/{written}?host=h")).is_err(), "a host was given twice");
    assert_eq!(root(format!("host://h/{written}")).unwrap(), placed);
    assert_eq!(root(whole.clone()).unwrap(), Some(whole));
    assert_eq!(root(format!("nothing:?root={written}")).unwrap().as_deref(), Some(place));
    assert_eq!(root(format!("nothing:{written}")).is_ok(), place.is_empty());

    let config: Config = format!("path:x?host={said}&word=two").parse().unwrap();
    let options = asked(&config).unwrap();
    assert_eq!((options.text("host"), options.text("word")), (Some(value), Some("two")));
    assert!(root(format!("path:{written}x?root={said}")).is_err(), "a place was given twice");
    let secret: Config = format!("path:?cursor_secret={said}").parse().unwrap();
    assert_eq!(secret.cursor_secret.as_ref().map(artifact_store::Secret::reveal), Some(value));
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
