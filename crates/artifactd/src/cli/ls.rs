//! `artifactd ls`: lists artifacts, newest first. This module must never keep more than one page of records in memory.

mod rows;

use std::num::NonZeroU64;
use std::sync::Arc;

use artifact_store::core::{MAX_LIST_LIMIT, MediaRange, parse_size};
use artifact_store::{
    ArtifactStore, ArtifactStoreExt, Filter, ListQuery, Registry, ScopePart, ScopePattern, Source,
    StoreError, TaskPattern, TenantPattern, Timestamp,
};
use clap::ArgGroup;
use futures_util::StreamExt;

use super::error::CommandError;
use super::put::source_parser;
use super::scope_args::parse_scope_part;
use super::stderr::print_message;
use super::stdout::{StdoutWriter, supports_colours};
use super::store_args::StoreArgs;
use rows::Rows;

const EXAMPLES: &str = "\
Filters: an artifact must match every flag that is set, by one of the values of a repeated flag. Limits are inclusive.

Examples:
  artifactd ls --store sqlite:artifacts.db --tenant acme
  artifactd ls --tenant acme --user ada --session s-1 --mime-type text/csv --tag q3 --tag q4
  artifactd ls --all-tenants --min-size 64MiB --before 2026-01-01 --all --json | jq -r .ref.id";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("tenants").args(["tenant", "all_tenants"]).required(true))]
pub(super) struct LsArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    scopes: ScopePatternArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// The largest number of artifacts to list
    #[arg(long, value_name = "N", default_value = "100", conflicts_with = "all")]
    limit: NonZeroU64,
    /// List all artifacts
    #[arg(long)]
    all: bool,
    /// Print a line of JSON for each artifact
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct ScopePatternArgs {
    /// One tenant
    #[arg(long, value_parser = parse_scope_part, help_heading = "Scope")]
    tenant: Option<ScopePart>,
    /// Every tenant of the store
    #[arg(long, help_heading = "Scope")]
    all_tenants: bool,
    /// Only this user
    #[arg(long, value_parser = parse_scope_part, conflicts_with = "all_tenants", help_heading = "Scope")]
    user: Option<ScopePart>,
    /// Only this session
    #[arg(long, value_parser = parse_scope_part, conflicts_with = "all_tenants", help_heading = "Scope")]
    session: Option<ScopePart>,
    /// Only this task
    #[arg(long, value_parser = parse_scope_part, conflicts_with = "all_tenants", help_heading = "Scope")]
    task: Option<ScopePart>,
    /// Only artifacts that belong to no task
    #[arg(long, conflicts_with_all = ["all_tenants", "task"], help_heading = "Scope")]
    no_task: bool,
}

#[derive(Debug, clap::Args)]
struct FilterArgs {
    /// Only this media type, such as text/plain, or this range, such as image/*; may be repeated
    #[arg(long = "mime-type", value_name = "TYPE", help_heading = "Filters")]
    media_types: Vec<MediaRange>,
    /// Only from this source; may be repeated
    #[arg(long = "source", value_name = "SOURCE", value_parser = source_parser(), help_heading = "Filters")]
    sources: Vec<Source>,
    /// Only with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG", help_heading = "Filters")]
    tags: Vec<String>,
    /// At least this size, such as 4096 or 4KiB
    #[arg(long, value_name = "SIZE", value_parser = parse_byte_size, help_heading = "Filters")]
    min_size: Option<u64>,
    /// At most this size
    #[arg(long, value_name = "SIZE", value_parser = parse_byte_size, help_heading = "Filters")]
    max_size: Option<u64>,
    /// Created at this time or later: 2026-01-02 (the start of this day in UTC) or 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME", value_parser = parse_lower_bound, help_heading = "Filters")]
    after: Option<TimeBound>,
    /// Created at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = parse_upper_bound, help_heading = "Filters")]
    before: Option<TimeBound>,
}

impl ScopePatternArgs {
    fn pattern(&self) -> ScopePattern {
        let task = match &self.task {
            Some(task) => TaskPattern::One(task.clone()),
            None if self.no_task => TaskPattern::NoTask,
            None => TaskPattern::Any,
        };
        ScopePattern {
            // clap requires either `--tenant` or `--all-tenants`.
            tenant: self.tenant.clone().map_or(TenantPattern::AllTenants, TenantPattern::One),
            user: self.user.clone(),
            session: self.session.clone(),
            task,
        }
    }
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        Filter {
            media_types: self.media_types.clone(),
            sources: self.sources.clone(),
            min_bytes: self.min_size,
            max_bytes: self.max_size,
            created_after: self.after.and_then(|bound| bound.0),
            created_before: self.before.and_then(|bound| bound.0),
            tags: self.tags.clone(),
        }
    }
}

pub(super) async fn run(args: LsArgs, registry: &Registry) -> Result<(), CommandError> {
    let limit = if args.all { u64::MAX } else { args.limit.get() };
    // One row more than `limit` shows whether there are more artifacts. `with_limit` clamps the size of a page.
    let page_size = u32::try_from(limit.saturating_add(1)).unwrap_or(MAX_LIST_LIMIT);
    let query = ListQuery::new(args.scopes.pattern()).with_filter(args.filter.filter()).with_limit(page_size);
    query.validate().map_err(CommandError::usage)?;
    let work = async |store: &Arc<dyn ArtifactStore>| print_records(store, query, limit, args.json).await;
    args.store.run_on_read_only(registry, work).await
}

/// Prints at most `limit` records, page by page.
async fn print_records(
    store: &Arc<dyn ArtifactStore>,
    query: ListQuery,
    limit: u64,
    json: bool,
) -> Result<(), CommandError> {
    let page_size = u64::from(query.limit());
    let mut rows =
        if json { Rows::json(store.driver()) } else { Rows::table(query.pattern(), supports_colours()) };
    let mut stdout = StdoutWriter::new();
    let mut records = store.list_all(query);
    let mut listed = 0;
    // Whether more than `limit` artifacts match, or the error that ended the list early.
    let has_more = loop {
        match records.next().await {
            None => break Ok(false),
            Some(Ok(_)) if listed == limit => break Ok(true),
            Some(Ok(record)) => {
                rows.push(record)?;
                listed += 1;
                if listed % page_size == 0 {
                    stdout.write(rows.render().as_bytes()).await?;
                }
            }
            Some(Err(error)) => break Err(error),
        }
    };
    stdout.write(rows.render().as_bytes()).await?;
    stdout.finish().await?;
    match has_more {
        Ok(true) => {
            print_message(&format!("there are more than these {listed} artifacts; give --limit N or --all"));
        }
        Ok(false) if listed == 0 && !json => print_message("no artifact matches"),
        Ok(false) => {}
        Err(error) if listed > 0 => return Err(CommandError::caused_by("the list is not complete", &error)),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn parse_byte_size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "it takes a size in bytes such as 4096, 64KiB or 4MiB".to_owned())
}

/// The first or the last time of a range. `None` if the user gave 0001-01-01T00:00:00Z, which means no limit.
#[derive(Debug, Clone, Copy)]
struct TimeBound(Option<Timestamp>);

fn parse_lower_bound(text: &str) -> Result<TimeBound, StoreError> {
    parse_time_bound(text, Timestamp::lower_bound)
}

fn parse_upper_bound(text: &str) -> Result<TimeBound, StoreError> {
    parse_time_bound(text, Timestamp::upper_bound)
}

/// Parses a timestamp with `parse`. A date stands for the start of this day in UTC. If `text` is neither a timestamp
/// nor a date, returns the error that `parse` returns for `text`.
fn parse_time_bound(
    text: &str,
    parse: fn(&str) -> Result<Option<Timestamp>, StoreError>,
) -> Result<TimeBound, StoreError> {
    let bound = match parse(text) {
        Ok(bound) => bound,
        Err(error) => parse(&format!("{text}T00:00:00Z")).map_err(|_| error)?,
    };
    Ok(TimeBound(bound))
}
