//! `artifactd put`: stores a file or standard input as an artifact. This module must never keep all bytes in memory.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use artifact_store::core::{MediaType, Metadata};
use artifact_store::{
    ArtifactRef, ArtifactStore, Body, Namespace, PutOptions, PutOutcome, PutResult, Registry, Source,
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use futures_util::StreamExt;
use indicatif::{BinaryBytes, HumanDuration};
use serde::Serialize;
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::error::CommandError;
use super::json_line::json_line;
use super::progress::Progress;
use super::scope_args::ScopeArgs;
use super::stderr::print_message;
use super::stdout;
use super::store_args::StoreArgs;

/// The size of one read of a file or pipe, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

const EXAMPLES: &str = "\
Standard output contains only the id. The same bytes in the same scope and namespace are stored once, with the options of
the first put.

Examples:
  artifactd put report.csv --store fs:artifacts --tenant acme --user ada --session s-1 --mime-type text/csv --tag q3
  id=$(pg_dump shop | artifactd put - --filename shop.sql --tenant acme --user ada --session s-1)
  artifactd put page.png --config artifactd.yaml --tenant acme --user ada --session s-1 --metadata '{\"page\": 3}' --json";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PutArgs {
    /// The file to store; - is standard input
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Separates artifacts by purpose; part of the id
    #[arg(long, default_value = artifact_store::core::DEFAULT_NAMESPACE, value_parser = |text: &str| Namespace::new(text))]
    namespace: Namespace,
    /// A name for people and downloads; without it, the name of the file
    #[arg(long, value_name = "NAME", conflicts_with = "no_filename")]
    filename: Option<String>,
    /// Give the artifact no name
    #[arg(long)]
    no_filename: bool,
    /// The media type, such as text/csv
    #[arg(long, value_name = "TYPE", value_parser = parse_media_type)]
    mime_type: Option<String>,
    /// Where the bytes come from
    #[arg(long, default_value = Source::default().as_str(), value_parser = source_parser())]
    source: Source,
    /// A tag to filter by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Other metadata: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", hide_default_value = true, value_parser = parse_metadata)]
    metadata: std::sync::Arc<Metadata>,
    /// Print the artifact's ref and the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Show neither progress nor the outcome
    #[arg(long, short)]
    quiet: bool,
}

/// The parser of the argument `--source`, for clap.
pub(super) fn source_parser() -> impl TypedValueParser<Value = Source> {
    PossibleValuesParser::new(Source::ALL.iter().map(|source| source.as_str()))
        .try_map(|name| name.parse::<Source>())
}

fn parse_media_type(text: &str) -> Result<String, String> {
    let parsed = MediaType::parse(text).map(|_| text.to_owned());
    parsed.ok_or_else(|| "it takes a media type, such as text/csv".to_owned())
}

fn parse_metadata(text: &str) -> Result<std::sync::Arc<Metadata>, String> {
    serde_json::from_str(text).map(std::sync::Arc::new).map_err(|_| "it takes a JSON object".to_owned())
}

#[derive(Serialize)]
struct PutOutput {
    #[serde(flatten)]
    artifact: ArtifactRef,
    outcome: PutOutcome,
}

pub(super) async fn run(args: PutArgs, registry: &Registry) -> Result<(), CommandError> {
    let options = args.options();
    options.validate().map_err(CommandError::usage)?;
    args.store.run_creating(registry, async |store| put(&**store, &args, options).await).await
}

async fn put(store: &dyn ArtifactStore, args: &PutArgs, options: PutOptions) -> Result<(), CommandError> {
    let Input { reader, length, is_terminal } = args.open().await?;
    let started = Instant::now();
    let is_progress_shown = !args.quiet && !is_terminal;
    let progress = Progress::start(length, is_progress_shown);
    let add_progress = progress.counter();
    let chunks = ReaderStream::with_capacity(reader, CHUNK_BYTES);
    let body = Body::from_stream(chunks.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            add_progress(chunk.len());
        }
    }));
    let body = match length {
        Some(length) => body.with_length(length),
        None => body,
    };
    let result = store.put(&args.scope.scope(), body, options).await?;
    drop(progress);
    if !args.quiet {
        print_message(&summary(&result, started.elapsed()));
    }
    let PutResult { record, outcome } = result;
    if args.json {
        stdout::print(&json_line(&PutOutput { artifact: record.artifact_ref(), outcome })?).await
    } else {
        stdout::print(&format!("{}\n", record.id)).await
    }
}

/// The message that says whether the artifact was created, with its size.
fn summary(result: &PutResult, elapsed: Duration) -> String {
    let size = BinaryBytes(result.record.size);
    match result.outcome {
        PutOutcome::Created => format!("created: {size} in {}", format_duration(elapsed)),
        PutOutcome::AlreadyExists => format!("already stored: {size}, since {}", result.record.created_at),
    }
}

fn format_duration(elapsed: Duration) -> String {
    if elapsed.as_secs() < 60 {
        format!("{:.2} s", elapsed.as_secs_f64())
    } else {
        HumanDuration(elapsed).to_string()
    }
}

/// The bytes to store.
struct Input {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    /// The length in bytes. `None` if it is not known.
    length: Option<u64>,
    /// Whether the input is typed in a terminal. If so, no progress is drawn, because the progress would mix with the
    /// typed text.
    is_terminal: bool,
}

impl PutArgs {
    fn reads_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn options(&self) -> PutOptions {
        let file_name = || {
            if self.reads_stdin() {
                return None;
            }
            let name = self.file.file_name()?;
            Some(name.to_string_lossy().into_owned())
        };
        PutOptions {
            namespace: self.namespace.clone(),
            media_type: self.mime_type.clone(),
            filename: if self.no_filename { None } else { self.filename.clone().or_else(file_name) },
            source: self.source,
            tags: self.tags.clone(),
            metadata: (*self.metadata).clone(),
        }
    }

    /// Opens the file or standard input.
    async fn open(&self) -> Result<Input, CommandError> {
        if self.reads_stdin() {
            let is_terminal = std::io::stdin().is_terminal();
            if is_terminal && !self.quiet {
                print_message("reading standard input; Ctrl-D ends it");
            }
            return Ok(Input { reader: Box::new(tokio::io::stdin()), length: None, is_terminal });
        }
        let unreadable =
            |error| CommandError::caused_by(format!("{} cannot be read", self.file.display()), &error);
        let file = File::open(&self.file).await.map_err(unreadable)?;
        let metadata = file.metadata().await.map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(CommandError::usage(format!(
                "{} is a directory; name a file in it",
                self.file.display()
            )));
        }
        // Files that the system generates on read, such as those in /proc, have the size 0. So the length of a file of
        // size 0 is not known.
        let is_length_known = metadata.is_file() && metadata.len() > 0;
        let length = is_length_known.then_some(metadata.len());
        Ok(Input { reader: Box::new(file), length, is_terminal: false })
    }
}
