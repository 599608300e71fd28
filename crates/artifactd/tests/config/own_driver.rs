//! A driver of another crate: its options are keys of the section `artifacts.options`.

use std::sync::Arc;

use artifact_store::{
    ArtifactStore, Capabilities, Clock, Config, Driver, DriverInfo, OptionKind, OptionSpec, Options,
    Registry, StoreError, SweepMode, SweepSummary, UrlForm, async_trait,
};
use artifactd::config::{Purpose, Settings};

/// A driver with a required path and a size.
#[derive(Debug)]
struct TapeDriver;

const fn option(name: &'static str, kind: OptionKind, required: bool) -> OptionSpec {
    OptionSpec { name, kind, default: None, required, about: "An option of the tape." }
}

#[async_trait]
impl Driver for TapeDriver {
    fn info(&self) -> &'static DriverInfo {
        &DriverInfo {
            name: "tape",
            about: "On a tape.",
            options: const { &[option("reel", OptionKind::Text, true), option("block", OptionKind::Size, false)] },
            url: UrlForm::Path("reel"),
            bytes_cannot_change: false,
        }
    }

    fn capabilities(&self, _: &Options) -> Capabilities {
        Capabilities::new()
    }

    async fn open(&self, _: &Options, _: Arc<dyn Clock>) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Err(StoreError::invalid_option("reel", "is missing from the shelf"))
    }

    async fn sweep(&self, _: &Options, _: SweepMode) -> Result<SweepSummary, StoreError> {
        Ok(SweepSummary::default())
    }
}

fn load(flags: &[(&str, &str)]) -> Result<Settings, String> {
    let mut registry = artifactd::drivers().unwrap();
    registry.register(Arc::new(TapeDriver)).unwrap();
    load_with(&registry, flags)
}

fn load_with(registry: &Registry, flags: &[(&str, &str)]) -> Result<Settings, String> {
    let flags: Vec<_> = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let loaded = Settings::load_for(Purpose::OpenStore, registry, None, &flags);
    loaded.map(|(settings, _)| settings).map_err(|error| error.to_string())
}

#[test]
fn the_options_of_an_own_driver_are_keys_of_the_section_options() {
    let flags = [
        ("artifacts.driver", "tape"),
        ("artifacts.options.reel", "/dev/st0"),
        ("artifacts.options.block", "64 KiB"),
    ];
    let expected = Config::new("tape").option("reel", "/dev/st0").option("block", 65_536);
    assert_eq!(load(&flags).unwrap().artifacts.store, expected);
}

#[test]
fn a_mistake_in_the_keys_of_an_own_driver_is_refused_with_one_line() {
    for (flags, line) in [
        (
            vec![("artifacts.driver", "tape")],
            "command line: artifacts.driver: the driver tape needs artifacts.options.reel: An option of the tape.",
        ),
        (
            vec![
                ("artifacts.driver", "tape"),
                ("artifacts.options.rele", "/dev/st0"),
                ("artifacts.options.reel", "a"),
            ],
            "command line: artifacts.options.rele: the driver tape has no option 'rele'; did you mean artifacts.options.reel?",
        ),
        (
            vec![("artifacts.driver", "tape"), ("artifacts.reel", "/dev/st0")],
            "command line: there is no key 'artifacts.reel'; did you mean 'artifacts.options.reel'?",
        ),
        (
            vec![
                ("artifacts.driver", "tape"),
                ("artifacts.options.reel", "/dev/st0"),
                ("artifacts.options.block", "large"),
            ],
            "command line: artifacts.options.block is not legal; it takes a size in bytes such as 4096, 64KiB or 4MiB",
        ),
    ] {
        assert_eq!(load(&flags).unwrap_err(), line);
    }
}

#[test]
fn an_unknown_driver_names_the_own_one_only_if_it_is_registered() {
    let flags = [("artifacts.driver", "tapes"), ("artifacts.options.reel", "/dev/st0")];
    let line = load(&flags).unwrap_err();
    assert!(
        line.starts_with(
            "command line: artifacts.driver: there is no driver 'tapes'; did you mean 'tape'? known: "
        ),
        "{line}"
    );
    let line = load_with(&artifactd::drivers().unwrap(), &flags).unwrap_err();
    assert!(line.contains("there is no driver 'tapes'; known: ") && !line.contains("tape,"), "{line}");
}

#[test]
fn an_error_of_opening_names_the_key_and_where_a_relative_path_starts() {
    let flags = [("artifacts.driver", "tape"), ("artifacts.options.reel", "reels/1")];
    let names = load(&flags).unwrap().artifacts.option_names;
    let message = names.error_message(&StoreError::invalid_option("reel", "is missing from the shelf"));
    let expected = "artifacts.options.reel on the command line (a relative path";
    assert!(message.starts_with(expected), "{message}");
}
