//! `capabilities.md`: what a store promises beyond the contract, and which driver promises it. Must never know an opened store.

use std::time::Duration;

use artifact_store::{Capabilities, Flag, StoreError};
use artifact_store_protocol::Method;
use serde_json::json;

use super::markdown::{Markdown, code};

const INTRO: &str = "\
What a store promises beyond the contract that all of them keep: flags and numbers. Branch on them, never on the name of a
driver: options and the storage behind a driver may take a promise away or set a smaller bound.";

const NUMBERS: &[(&str, &str)] = &[
    (
        "max_artifact_bytes",
        "The largest artifact, in bytes; left out where the store sets no bound of its own.",
    ),
    (
        "max_presign_expiry_seconds",
        "The longest life of a presigned URL, in seconds; left out where nothing can be presigned.",
    ),
];

pub(super) fn page() -> Result<String, StoreError> {
    let mut page = Markdown::titled("Capabilities");
    page.say(INTRO);
    page.heading(2, "Flags");
    page.say(
        "A flag of the kind *verb* is one that a call can refuse; a *guarantee* is one that no call can.",
    );
    let flags = Flag::ALL.iter().map(|flag| {
        vec![code(flag), format!("{:?}", flag.kind()).to_lowercase(), flag.sentence().to_owned()]
    });
    page.table(&["flag", "kind", "meaning"], &flags.collect::<Vec<_>>());
    page.heading(2, "Numbers");
    let numbers = NUMBERS.iter().map(|(name, meaning)| vec![code(name), (*meaning).to_owned()]);
    page.table(&["number", "meaning"], &numbers.collect::<Vec<_>>());
    page.heading(2, "Drivers");
    page.say(
        "What each driver of this build promises by default, as `artifactd drivers` shows it. `artifactd drivers --config FILE` \
         shows what the configured store promises.",
    );
    page.say(&crate::cli::drivers_markdown()?);
    page.heading(2, "How a client asks");
    page.say(&format!(
        "`{}` answers with `artifacts.capabilities`, the promises of the store that is open, and `{}` with those of every \
         driver compiled in. Both are one flat object: every flag, then the numbers. A store with every flag and both \
         numbers:",
        Method::RuntimeInfo,
        Method::RuntimeDrivers,
    ));
    let all = Flag::ALL.iter().fold(Capabilities::new(), |all, flag| all.with(*flag));
    let all = all.max_artifact_bytes(1 << 40).max_presign_expiry(Duration::from_hours(7 * 24));
    page.json(&json!({ "artifacts": { "driver": "s3", "capabilities": all } }));
    Ok(page.finish())
}
