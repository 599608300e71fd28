//! `artifactd drivers`: prints the capabilities and options of every driver of this build, or of one open store. This
//! module must never change an artifact.

use std::sync::Arc;

use artifact_store::{ArtifactStore, Flag, OpenOptions, Registry};

use super::error::CommandError;
use super::json_line::json_line;
use super::stdout::{self, supports_colours};
use super::store_args::{SelectedStore, StoreArgs};
use super::table::{Cell, Table};
use crate::driver_table::{DriverDescription, LIMIT_COLUMNS, artifact_bytes_limit, presign_expiry_limit};

const EXAMPLES: &str = "\
With --store, --config or the variable ARTIFACTD_STORE, the command opens that store. It shows only the driver of the store,
with the capabilities of the store as it is configured and the features of its storage.

Examples:
  artifactd drivers --options
  artifactd drivers --config artifactd.yaml
  artifactd drivers --config artifactd.yaml --probe
  artifactd drivers --store s3://artifacts/runs?region=eu-central-1 --json";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DriversArgs {
    /// Also show the options of each driver
    #[arg(long)]
    options: bool,
    /// Print a line of JSON for each driver, with its options
    #[arg(long, conflicts_with = "options")]
    json: bool,
    /// Test the features of the storage again instead of printing the recorded ones; needs a store
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: DriversArgs, registry: &Registry) -> Result<(), CommandError> {
    match args.store.select_optional(registry)? {
        None if args.probe => Err(CommandError::usage(
            "--probe needs a store; give --store URL or --config FILE, or set ARTIFACTD_STORE",
        )),
        None => args.print(&DriverDescription::all(registry)?).await,
        Some(selected) => args.print_store(&selected).await,
    }
}

impl DriversArgs {
    /// Opens the store, and prints its driver with the capabilities of the store and the features of its storage.
    async fn print_store(&self, selected: &SelectedStore) -> Result<(), CommandError> {
        let SelectedStore { config, registry, .. } = selected;
        let work = async |store: &Arc<dyn ArtifactStore>| {
            let mut description =
                DriverDescription::new(registry.driver(store.driver())?.info(), store.capabilities());
            let features = if self.probe {
                artifact_store::probe_with(registry, config).await
            } else {
                artifact_store::store_features_with(registry, config).await
            };
            description.features = Some(features.map_err(|error| selected.open_error(&error))?);
            self.print(&[description]).await
        };
        selected.run(&OpenOptions::new().read_only(true), work).await
    }

    /// Prints tables, or lines of JSON.
    async fn print(&self, descriptions: &[DriverDescription]) -> Result<(), CommandError> {
        let text = if self.json {
            descriptions.iter().map(json_line).collect::<Result<String, _>>()?
        } else {
            let colours = supports_colours();
            let mut text = capability_table(descriptions, colours);
            text.extend(descriptions.iter().filter_map(|description| feature_table(description, colours)));
            if self.options {
                text.extend(descriptions.iter().map(|description| option_table(description, colours)));
            }
            text
        };
        stdout::print(&text).await
    }
}

/// A table with a row for each driver and a column for each flag and limit.
fn capability_table(descriptions: &[DriverDescription], colours: bool) -> String {
    let mut titles = vec!["DRIVER"];
    titles.extend(Flag::ALL.iter().map(|flag| flag.as_str()));
    titles.extend(LIMIT_COLUMNS);
    titles.push("FOR");
    let rows: Vec<Vec<Cell>> = descriptions
        .iter()
        .map(|description| {
            let mut row = vec![Cell::new(description.driver).bold()];
            row.extend(Flag::ALL.iter().map(|flag| Cell::check_mark(description.capabilities.has(*flag))));
            row.push(Cell::new(&artifact_bytes_limit(description.capabilities)));
            let expiry = presign_expiry_limit(description.capabilities);
            row.push(expiry.map_or_else(Cell::dash, |expiry| Cell::new(&expiry)));
            row.push(Cell::uncut(description.about));
            row
        })
        .collect();
    Table::new(titles, &[], colours).render(&rows)
}

/// A table with a row for each feature of the storage. `None` if the driver has no optional features.
fn feature_table(description: &DriverDescription, colours: bool) -> Option<String> {
    let features = description.features.as_ref().filter(|features| !features.is_empty())?;
    let rows: Vec<Vec<Cell>> = features
        .iter()
        .map(|feature| [feature.name, &feature.value, &feature.about].into_iter().map(Cell::uncut).collect())
        .collect();
    let table = Table::new(vec!["FEATURE", "VALUE", "MEANING"], &[], colours).render(&rows);
    Some(format!("\n{table}"))
}

/// A table with a row for each option.
fn option_table(description: &DriverDescription, colours: bool) -> String {
    if description.options.is_empty() {
        return format!("\n{}: no options\n", description.driver);
    }
    let rows: Vec<Vec<Cell>> = description
        .options
        .iter()
        .map(|option| {
            let default = match option.default {
                Some(default) => default,
                None if option.required => "required",
                None => "unset",
            };
            let cells = [option.name, default, &option.expected, option.about];
            cells.into_iter().map(Cell::uncut).collect()
        })
        .collect();
    let table = Table::new(vec!["OPTION", "DEFAULT", "VALUE", "MEANING"], &[], colours).render(&rows);
    format!("\n{} (as a URL: {})\n{table}", description.driver, description.url)
}
