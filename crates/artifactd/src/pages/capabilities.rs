//! `capabilities.md`: the flags and limits, and which driver has them. This module must never know an open store.

use std::time::Duration;

use artifact_store::{Capabilities, Flag, Registry, StoreError};
use artifact_store_protocol::Method;
use serde_json::json;

use super::markdown::{Markdown, code, yes_or_no};
use crate::driver_table::{DriverDescription, LIMIT_COLUMNS, artifact_bytes_limit, presign_expiry_limit};

const INTRO: &str = "\
What a store promises beyond the contract that every store keeps: flags and numbers. Branch on these, never on the name of a
driver. Options and the storage behind a driver can remove a promise or set a smaller limit.";

const NUMBERS: &[(&str, &str)] = &[
    ("max_artifact_bytes", "The largest artifact, in bytes; absent if the store sets no limit of its own."),
    (
        "max_presign_expiry_seconds",
        "The longest lifetime of a presigned URL, in seconds; absent if the store presigns nothing.",
    ),
];

pub(super) fn page(registry: &Registry) -> Result<String, StoreError> {
    let mut page = Markdown::with_title("Capabilities");
    page.paragraph(INTRO);
    page.heading(2, "Flags");
    page.paragraph(
        "A flag of the kind *verb* stands for a call: a store without the flag refuses the call. A flag of the kind *guarantee* is a \
         property of the store: no call is refused because the flag is missing.",
    );
    let flags = Flag::ALL.iter().map(|flag| {
        vec![code(flag), format!("{:?}", flag.kind()).to_lowercase(), flag.description().to_owned()]
    });
    page.table(&["flag", "kind", "meaning"], &flags.collect::<Vec<_>>());
    page.heading(2, "Numbers");
    let numbers = NUMBERS.iter().map(|(name, meaning)| vec![code(name), (*meaning).to_owned()]);
    page.table(&["number", "meaning"], &numbers.collect::<Vec<_>>());
    page.heading(2, "Drivers");
    page.paragraph(
        "What each driver of this build promises by default, as `artifactd drivers` shows it. `artifactd drivers --config FILE` \
         shows what the configured store promises.",
    );
    driver_table(&mut page, registry)?;
    page.heading(2, "How a client asks");
    page.paragraph(&format!(
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

/// The table of the drivers with their defaults.
fn driver_table(page: &mut Markdown, registry: &Registry) -> Result<(), StoreError> {
    let columns: Vec<String> =
        Flag::ALL.iter().map(|flag| flag.as_str()).chain(LIMIT_COLUMNS).map(code).collect();
    let titles: Vec<&str> = ["driver"].into_iter().chain(columns.iter().map(String::as_str)).collect();
    let drivers = DriverDescription::all(registry)?;
    let rows = drivers.iter().map(|DriverDescription { driver, capabilities, .. }| {
        let mut row = vec![code(driver)];
        row.extend(Flag::ALL.iter().map(|flag| yes_or_no(capabilities.has(*flag))));
        row.push(artifact_bytes_limit(*capabilities));
        row.push(presign_expiry_limit(*capabilities).unwrap_or_else(|| "–".into()));
        row
    });
    page.table(&titles, &rows.collect::<Vec<_>>());
    Ok(())
}
