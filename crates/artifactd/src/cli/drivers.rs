//! `artifactd drivers`: every driver compiled in, what it promises and what it is told; or the same of one store, opened.

use std::fmt::Write as _;
use std::time::Duration;

use artifact_store::core::{OptionSpec, Options};
use artifact_store::{Ability, Capabilities, Config, DriverInfo, Flag, StoreError};
use indicatif::BinaryBytes;
use serde::Serialize;

use super::Failure;
use super::out::{self, json_line};
use super::table::{Cell, Table};
use super::target::{StoreArgs, with};

const EXAMPLES: &str = "\
With --store or --config that store is opened: its driver stands alone, with what the store promises as it is configured,
and what the storage behind it can do.

Examples:
  artifactd drivers --options
  artifactd drivers --config artifactd.yaml
  artifactd drivers --store s3://artifacts/runs?region=eu-central-1 --json";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DriversArgs {
    /// Show each driver's options, too
    #[arg(long)]
    options: bool,
    /// Print a JSON object a line, options included
    #[arg(long, conflicts_with = "options")]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A driver with everything about it: as it is by default, or as a store is that was opened.
#[derive(Serialize)]
struct Answer {
    driver: &'static str,
    about: &'static str,
    capabilities: Capabilities,
    /// How a store's URL is written, with the names of options where their values go.
    url: String,
    /// What the storage behind an opened store can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    abilities: Option<Vec<Ability>>,
    options: Vec<OptionAnswer>,
}

#[derive(Serialize)]
struct OptionAnswer {
    name: &'static str,
    takes: String,
    default: Option<&'static str>,
    required: bool,
    about: &'static str,
}

impl Answer {
    fn new(info: &DriverInfo, capabilities: Capabilities) -> Self {
        let options = info.options.iter().map(|spec| {
            let OptionSpec { name, kind, default, required, about } = *spec;
            OptionAnswer { name, takes: kind.legal(), default, required, about }
        });
        let url = info.url.pattern(info.name);
        let DriverInfo { name: driver, about, .. } = *info;
        Self { driver, about, capabilities, url, abilities: None, options: options.collect() }
    }

    /// Every driver, as it is by default.
    fn of_drivers() -> Result<Vec<Self>, StoreError> {
        let mut answers = Vec::new();
        for driver in artifact_store::drivers()?.drivers() {
            let info = driver.info();
            let defaults = Options::defaults(info.name, info.options)?;
            answers.push(Self::new(info, driver.capabilities(&defaults)));
        }
        Ok(answers)
    }
}

pub(super) async fn run(args: DriversArgs) -> Result<(), Failure> {
    match args.store.named()? {
        None => args.show(&Answer::of_drivers()?).await,
        Some(config) => args.show_store(&config).await,
    }
}

impl DriversArgs {
    async fn show_store(&self, config: &Config) -> Result<(), Failure> {
        with(artifact_store::open_for_reading(config), async |store| {
            let registry = artifact_store::drivers()?;
            let mut answer = Answer::new(registry.driver(store.driver())?.info(), store.capabilities());
            answer.abilities = Some(artifact_store::abilities(config).await?);
            self.show(&[answer]).await
        })
        .await
    }

    async fn show(&self, answers: &[Answer]) -> Result<(), Failure> {
        let text = if self.json {
            answers.iter().map(json_line).collect::<Result<String, _>>()?
        } else {
            let colours = out::takes_colours();
            let mut text = promises(answers, colours);
            text.extend(answers.iter().filter_map(|answer| abilities(answer, colours)));
            if self.options {
                text.extend(answers.iter().map(|answer| settings(answer, colours)));
            }
            text
        };
        out::print(&text).await
    }
}

/// What each driver promises by default, in Markdown, for the documentation.
///
/// # Errors
/// A mistake in a driver's table of options.
pub(crate) fn markdown() -> Result<String, StoreError> {
    let answers = Answer::of_drivers()?;
    let mut text = String::from("| driver |");
    let mut line = String::from("\n|---|");
    for column in Flag::ALL.iter().map(|flag| flag.word()).chain(NUMBERS) {
        // Writing into a text cannot fail.
        let _ = write!(text, " `{column}` |");
        line.push_str("---|");
    }
    text.push_str(&line);
    for Answer { driver, capabilities, .. } in &answers {
        let _ = write!(text, "\n| `{driver}` |");
        for flag in Flag::ALL {
            text.push_str(if capabilities.has(*flag) { " yes |" } else { " no |" });
        }
        let _ = write!(
            text,
            " {} | {} |",
            largest(*capabilities),
            longest(*capabilities).unwrap_or_else(|| "–".into())
        );
    }
    text.push('\n');
    Ok(text)
}

/// The columns beside the flags.
const NUMBERS: [&str; 2] = ["max_artifact_bytes", "max_presign_expiry"];

fn largest(capabilities: Capabilities) -> String {
    match capabilities.artifact_bytes_limit() {
        u64::MAX => "no bound".to_owned(),
        bytes => BinaryBytes(bytes).to_string(),
    }
}

fn longest(capabilities: Capabilities) -> Option<String> {
    let expiry = capabilities.presign_expiry_limit();
    (expiry != Duration::ZERO).then(|| format!("{} s", expiry.as_secs()))
}

/// A row a driver, a column a flag.
fn promises(answers: &[Answer], colours: bool) -> String {
    let mut titles = vec!["DRIVER"];
    titles.extend(Flag::ALL.iter().map(|flag| flag.word()));
    titles.extend(NUMBERS);
    titles.push("FOR");
    let rows: Vec<Vec<Cell>> = answers
        .iter()
        .map(|answer| {
            let mut row = vec![Cell::new(answer.driver).bold()];
            row.extend(Flag::ALL.iter().map(|flag| Cell::mark(answer.capabilities.has(*flag))));
            row.push(Cell::new(&largest(answer.capabilities)));
            row.push(
                longest(answer.capabilities).map_or_else(|| Cell::mark(false), |expiry| Cell::new(&expiry)),
            );
            row.push(Cell::whole(answer.about));
            row
        })
        .collect();
    Table::new(titles, &[], colours).render(&rows)
}

/// A row an ability, where the storages of a driver differ.
fn abilities(answer: &Answer, colours: bool) -> Option<String> {
    let abilities = answer.abilities.as_ref().filter(|abilities| !abilities.is_empty())?;
    let rows: Vec<Vec<Cell>> = abilities
        .iter()
        .map(|ability| [ability.name, &ability.value, &ability.about].into_iter().map(Cell::whole).collect())
        .collect();
    let table = Table::new(vec!["ABILITY", "VALUE", "WHAT IT MEANS"], &[], colours).render(&rows);
    Some(format!("\n{table}"))
}

/// A row an option.
fn settings(answer: &Answer, colours: bool) -> String {
    if answer.options.is_empty() {
        return format!("\n{}: no options\n", answer.driver);
    }
    let rows: Vec<Vec<Cell>> = answer
        .options
        .iter()
        .map(|option| {
            let default = match option.default {
                Some(default) => default,
                None if option.required => "required",
                None => "unset",
            };
            let cells = [option.name, default, &option.takes, option.about];
            cells.into_iter().map(Cell::whole).collect()
        })
        .collect();
    let table = Table::new(vec!["OPTION", "DEFAULT", "TAKES", "WHAT IT DOES"], &[], colours).render(&rows);
    format!("\n{} (as a URL: {})\n{table}", answer.driver, answer.url)
}
