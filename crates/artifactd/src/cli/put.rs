//! `artifactd put`: a file or standard input becomes an artifact.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use artifact_store::core::{MediaType, Metadata};
use artifact_store::{ArtifactRef, ArtifactStore, Body, Namespace, Put, PutOptions, PutOutcome, Source};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use futures_util::StreamExt;
use indicatif::{BinaryBytes, HumanDuration};
use serde::Serialize;
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::Failure;
use super::out::{self, json_line};
use super::progress::Progress;
use super::target::{ScopeArgs, StoreArgs};

/// What is read of a file or pipe at once.
const PIECE_BYTES: usize = 256 * 1024;

const EXAMPLES: &str = "\
Standard output holds exactly the id. The same bytes in the same scope and namespace are stored once, and the first
put's options stay.

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
    /// Keeps purposes apart; part of the id
    #[arg(long, default_value = artifact_store::core::DEFAULT_NAMESPACE, value_parser = |text: &str| Namespace::new(text))]
    namespace: Namespace,
    /// The artifact's name for people; without it, the file's
    #[arg(long, value_name = "NAME", conflicts_with = "no_filename")]
    filename: Option<String>,
    /// Give the artifact no name
    #[arg(long)]
    no_filename: bool,
    /// The media type, such as text/csv
    #[arg(long, value_name = "TYPE", value_parser = media_type)]
    mime_type: Option<String>,
    /// Where the bytes come from
    #[arg(long, default_value = Source::default().word(), value_parser = source_parser())]
    source: Source,
    /// A word to find it by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Anything else: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", hide_default_value = true, value_parser = metadata)]
    metadata: std::sync::Arc<Metadata>,
    /// Print the artifact's ref and the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Show neither progress nor what came of it
    #[arg(long, short)]
    quiet: bool,
}

/// The sources by their words.
pub(super) fn source_parser() -> impl TypedValueParser<Value = Source> {
    PossibleValuesParser::new(Source::ALL.iter().map(|source| source.word()))
        .try_map(|word| word.parse::<Source>())
}

fn media_type(text: &str) -> Result<String, String> {
    let parsed = MediaType::parse(text).map(|_| text.to_owned());
    parsed.ok_or_else(|| "it takes a media type, such as text/csv".to_owned())
}

fn metadata(text: &str) -> Result<std::sync::Arc<Metadata>, String> {
    serde_json::from_str(text).map(std::sync::Arc::new).map_err(|_| "it takes a JSON object".to_owned())
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    artifact: ArtifactRef,
    outcome: PutOutcome,
}

pub(super) async fn run(args: PutArgs) -> Result<(), Failure> {
    let options = args.options();
    options.check().map_err(Failure::usage)?;
    args.store.run_making(async |store| put(store, &args, options).await).await
}

async fn put(store: &dyn ArtifactStore, args: &PutArgs, options: PutOptions) -> Result<(), Failure> {
    let Input { reader, length, is_typed } = args.open().await?;
    let started = Instant::now();
    let progress = Progress::start(length, !args.quiet && !is_typed);
    let count = progress.counter();
    let pieces = ReaderStream::with_capacity(reader, PIECE_BYTES);
    let body = Body::from_stream(pieces.inspect(move |piece| {
        if let Ok(piece) = piece {
            count(piece.len());
        }
    }));
    let body = length.into_iter().fold(body, Body::with_length);
    let put = store.put(&args.scope.scope(), body, options).await?;
    drop(progress);
    if !args.quiet {
        out::note(&sentence(&put, started.elapsed()));
    }
    let Put { record, outcome } = put;
    if args.json {
        out::print(&json_line(&Answer { artifact: record.artifact_ref(), outcome })?).await
    } else {
        out::print(&format!("{}\n", record.id)).await
    }
}

fn sentence(put: &Put, took: Duration) -> String {
    let size = BinaryBytes(put.record.size);
    match put.outcome {
        PutOutcome::Created => format!("created: {size} in {}", seconds(took)),
        PutOutcome::StoodAlready => format!("stood already: {size}, since {}", put.record.created_at),
    }
}

fn seconds(took: Duration) -> String {
    if took.as_secs() < 60 { format!("{:.2} s", took.as_secs_f64()) } else { HumanDuration(took).to_string() }
}

struct Input {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    length: Option<u64>,
    /// Somebody types it: nothing may be drawn between.
    is_typed: bool,
}

impl PutArgs {
    fn reads_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn options(&self) -> PutOptions {
        let own_name = || {
            let name = self.file.file_name().filter(|_| !self.reads_stdin())?;
            Some(name.to_string_lossy().into_owned())
        };
        PutOptions {
            namespace: self.namespace.clone(),
            media_type: self.mime_type.clone(),
            filename: if self.no_filename { None } else { self.filename.clone().or_else(own_name) },
            source: self.source,
            tags: self.tags.clone(),
            metadata: (*self.metadata).clone(),
        }
    }

    async fn open(&self) -> Result<Input, Failure> {
        if self.reads_stdin() {
            let is_typed = std::io::stdin().is_terminal();
            if is_typed && !self.quiet {
                out::note("reading standard input; Ctrl-D ends it");
            }
            return Ok(Input { reader: Box::new(tokio::io::stdin()), length: None, is_typed });
        }
        let unreadable = |error| Failure::caused(format!("{} cannot be read", self.file.display()), &error);
        let file = File::open(&self.file).await.map_err(unreadable)?;
        let metadata = file.metadata().await.map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!("{} is a folder; name a file in it", self.file.display())));
        }
        // Files that the system makes up as they are read say that they are empty.
        let length = Some(metadata.len()).filter(|length| metadata.is_file() && *length > 0);
        Ok(Input { reader: Box::new(file), length, is_typed: false })
    }
}
