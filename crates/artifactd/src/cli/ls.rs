//! `artifactd ls`: artifacts, newest first.

mod rows;

use std::num::NonZeroU64;
use std::pin::pin;

use artifact_store::core::{MAX_LIST_LIMIT, MediaRange, parse_size};
use artifact_store::{
    ArtifactStore, ArtifactStoreExt, Filter, ListQuery, ScopePart, ScopePattern, Source, StoreError,
    TaskPattern, TenantPattern, Timestamp,
};
use clap::ArgGroup;
use futures_util::StreamExt;

use super::Failure;
use super::out::{self, Out};
use super::put::source_parser;
use super::target::{StoreArgs, part};
use rows::Rows;

const EXAMPLES: &str = "\
Filters: one of the values of each flag, and all flags at once; bounds are inclusive.

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
    scopes: ScopesArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Most artifacts to list
    #[arg(long, value_name = "N", default_value = "100", conflicts_with = "all")]
    limit: NonZeroU64,
    /// List every one
    #[arg(long)]
    all: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct ScopesArgs {
    /// One tenant
    #[arg(long, value_parser = part, help_heading = "Scope")]
    tenant: Option<ScopePart>,
    /// Every tenant of the store
    #[arg(long, help_heading = "Scope")]
    all_tenants: bool,
    /// Only this user
    #[arg(long, value_parser = part, conflicts_with = "all_tenants", help_heading = "Scope")]
    user: Option<ScopePart>,
    /// Only this session
    #[arg(long, value_parser = part, conflicts_with = "all_tenants", help_heading = "Scope")]
    session: Option<ScopePart>,
    /// Only this task
    #[arg(long, value_parser = part, conflicts_with = "all_tenants", help_heading = "Scope")]
    task: Option<ScopePart>,
    /// Only what belongs to no task
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
    /// At least so large, such as 4096 or 4KiB
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Filters")]
    min_size: Option<u64>,
    /// At most so large
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Filters")]
    max_size: Option<u64>,
    /// Created then or later: 2026-01-02 (its start in UTC) or 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME", value_parser = lower_bound, help_heading = "Filters")]
    after: Option<Bound>,
    /// Created then or earlier
    #[arg(long, value_name = "TIME", value_parser = upper_bound, help_heading = "Filters")]
    before: Option<Bound>,
}

impl ScopesArgs {
    fn pattern(&self) -> ScopePattern {
        let task = match &self.task {
            Some(task) => TaskPattern::One(task.clone()),
            None if self.no_task => TaskPattern::NoTask,
            None => TaskPattern::Any,
        };
        ScopePattern {
            // That one of both is given, the parser has seen to.
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

pub(super) async fn run(args: LsArgs) -> Result<(), Failure> {
    let limit = if args.all { u64::MAX } else { args.limit.get() };
    // One row more than asked tells whether more stand behind.
    let page = u32::try_from(limit.saturating_add(1)).unwrap_or(MAX_LIST_LIMIT);
    let query = ListQuery::new(args.scopes.pattern()).with_filter(args.filter.filter()).with_limit(page);
    query.check().map_err(Failure::usage)?;
    args.store.run_reading(async |store| list(store, query, limit, args.json).await).await
}

/// Prints page by page; no more than one is held.
async fn list(store: &dyn ArtifactStore, query: ListQuery, limit: u64, json: bool) -> Result<(), Failure> {
    let page = u64::from(query.limit());
    let mut rows =
        if json { Rows::json(store.driver()) } else { Rows::table(query.pattern(), out::takes_colours()) };
    let mut out = Out::new();
    let mut records = pin!(store.list_all(query));
    let mut listed = 0;
    let ended = loop {
        match records.next().await {
            None => break Ok(false),
            Some(Ok(_)) if listed == limit => break Ok(true),
            Some(Ok(record)) => {
                rows.push(record)?;
                listed += 1;
                if listed % page == 0 {
                    out.write(rows.take().as_bytes()).await?;
                }
            }
            Some(Err(error)) => break Err(error),
        }
    };
    out.write(rows.take().as_bytes()).await?;
    out.finish().await?;
    match ended {
        Ok(true) => out::note(&format!("more stand behind these {listed}; give --limit N or --all")),
        Ok(false) if listed == 0 && !json => out::note("no artifact is like this"),
        Ok(false) => {}
        Err(error) if listed > 0 => return Err(Failure::caused("the list is not complete", &error)),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "it takes a size in bytes such as 4096, 64KiB or 4MiB".to_owned())
}

/// A bound of a moment; open where the zero time was given.
#[derive(Debug, Clone, Copy)]
struct Bound(Option<Timestamp>);

fn lower_bound(text: &str) -> Result<Bound, StoreError> {
    bound(text, Timestamp::lower_bound)
}

fn upper_bound(text: &str) -> Result<Bound, StoreError> {
    bound(text, Timestamp::upper_bound)
}

fn bound(text: &str, read: fn(&str) -> Result<Option<Timestamp>, StoreError>) -> Result<Bound, StoreError> {
    read(text).or_else(|error| read(&format!("{text}T00:00:00Z")).map_err(|_| error)).map(Bound)
}
