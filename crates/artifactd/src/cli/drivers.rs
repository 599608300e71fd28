//! `artifactd drivers`: every driver compiled in, what it promises and what it is told.

use std::time::Duration;

use artifact_store::core::{OptionSpec, Options};
use artifact_store::{Capabilities, DriverInfo, Flag};
use indicatif::BinaryBytes;
use serde::Serialize;

use super::Failure;
use super::out::{self, json_line};
use super::table::{Cell, Table};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct DriversArgs {
    /// Show each driver's options, too
    #[arg(long)]
    options: bool,
    /// Print a JSON object a line, options included
    #[arg(long, conflicts_with = "options")]
    json: bool,
}

/// A driver with everything about it, as it is by default.
#[derive(Serialize)]
struct Answer {
    driver: &'static str,
    about: &'static str,
    capabilities: Capabilities,
    /// The option that the path of a store's URL stands for.
    path_option: Option<&'static str>,
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
        let DriverInfo { name: driver, about, path_option, .. } = *info;
        Self { driver, about, capabilities, path_option, options: options.collect() }
    }
}

pub(super) async fn run(args: DriversArgs) -> Result<(), Failure> {
    let mut answers = Vec::new();
    for driver in artifact_store::drivers()?.drivers() {
        let info = driver.info();
        let defaults = Options::defaults(info.name, info.options)?;
        answers.push(Answer::new(info, driver.capabilities(&defaults)));
    }
    let text = if args.json {
        answers.iter().map(json_line).collect::<Result<String, _>>()?
    } else {
        let colours = out::takes_colours();
        let mut text = promises(&answers, colours);
        if args.options {
            text.extend(answers.iter().map(|answer| settings(answer, colours)));
        }
        text
    };
    out::print(&text).await
}

/// A row a driver, a column a flag.
fn promises(answers: &[Answer], colours: bool) -> String {
    let mut titles = vec!["DRIVER"];
    titles.extend(Flag::ALL.iter().map(|flag| flag.word()));
    titles.extend(["max_artifact_bytes", "max_presign_expiry", "FOR"]);
    let rows: Vec<Vec<Cell>> = answers
        .iter()
        .map(|answer| {
            let mut row = vec![Cell::new(answer.driver).bold()];
            row.extend(Flag::ALL.iter().map(|flag| Cell::mark(answer.capabilities.has(*flag))));
            row.push(match answer.capabilities.artifact_bytes_limit() {
                u64::MAX => Cell::new("no bound"),
                bytes => Cell::new(&BinaryBytes(bytes).to_string()),
            });
            row.push(match answer.capabilities.presign_expiry_limit() {
                Duration::ZERO => Cell::mark(false),
                expiry => Cell::new(&format!("{} s", expiry.as_secs())),
            });
            row.push(Cell::whole(answer.about));
            row
        })
        .collect();
    Table::new(titles, &[], colours).render(&rows)
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
    let place = answer.path_option.map(|name| format!(" (the path of {}:path is {name})", answer.driver));
    let table = Table::new(vec!["OPTION", "DEFAULT", "TAKES", "WHAT IT DOES"], &[], colours).render(&rows);
    format!("\n{}{}\n{table}", answer.driver, place.unwrap_or_default())
}
