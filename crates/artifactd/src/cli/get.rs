//! `artifactd get`: writes the bytes of an artifact to standard output or into a file. This module must never leave a
//! partial file.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use artifact_store::{ArtifactStore, ByteRange, GetResult, Record, Registry};
use futures_util::StreamExt;

use super::error::CommandError;
use super::output_file::{FileWriter, IfExists, OutputFile};
use super::progress::Progress;
use super::scope_args::{ScopeArgs, artifact_not_found, parse_artifact_id};
use super::stdout::StdoutWriter;
use super::store_args::StoreArgs;

const EXAMPLES: &str = "\
A read of the whole artifact is checked against its SHA-256: the exit code is 0 only if every byte is as it was put.
With -o, the file has all bytes, or there is no file.

Examples:
  artifactd get $id --store fs:artifacts --tenant acme --user ada --session s-1 -o report.csv
  artifactd get $id --tenant acme --user ada --session s-1 | head -n 3
  artifactd get $id --tenant acme --user ada --session s-1 --range 0-1023
  artifactd get $id --tenant acme --user ada --session s-1 --range -512";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GetArgs {
    /// The artifact's id
    id: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Write into this file; - is standard output, even if that is a terminal
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// Only these bytes: from A to B inclusive, from A to the end, or the last N
    #[arg(long, value_name = "A-B|A-|-N", value_parser = parse_range, allow_hyphen_values = true)]
    range: Option<ByteRange>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

pub(super) async fn run(args: GetArgs, registry: &Registry) -> Result<(), CommandError> {
    let output = match &args.output {
        Some(path) if path != Path::new("-") => {
            let if_exists = if args.force { IfExists::Replace } else { IfExists::Fail };
            Some(OutputFile::new(path, if_exists)?)
        }
        _ => None,
    };
    args.store.run_on_read_only(registry, async |store| get(&**store, &args, output).await).await
}

async fn get(
    store: &dyn ArtifactStore,
    args: &GetArgs,
    output: Option<OutputFile>,
) -> Result<(), CommandError> {
    let id = parse_artifact_id(&args.id)?;
    let found = store.get(&args.scope.scope(), &id, args.range).await?;
    let GetResult { record, range, mut stream } = found.ok_or_else(artifact_not_found)?;
    let to_terminal = output.is_none() && std::io::stdout().is_terminal();
    // `-o -` prints to a terminal even if the artifact is not text.
    if to_terminal && args.output.is_none() {
        require_text(&record)?;
    }
    let mut writer = match output {
        Some(output) => OutputWriter::File(output.create().await?),
        None => OutputWriter::Stdout(StdoutWriter::new()),
    };
    let is_progress_shown = !args.quiet && !to_terminal;
    let progress = Progress::start(Some(range.end - range.start), is_progress_shown);
    let add_progress = progress.counter();
    while let Some(chunk) = stream.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                drop(progress);
                return Err(writer.abort(&error).await);
            }
        };
        writer.write(&chunk).await?;
        add_progress(chunk.len());
    }
    writer.finish().await
}

/// Returns an error if the media type of the artifact is not text: the bytes of the artifact could control the
/// terminal.
fn require_text(record: &Record) -> Result<(), CommandError> {
    let media_type = record.options.media_type.as_deref();
    if media_type.is_some_and(|media_type| media_type.to_ascii_lowercase().starts_with("text/")) {
        return Ok(());
    }
    Err(CommandError::usage(format!(
        "the artifact is {}, and standard output is a terminal; name a file with -o FILE, or give -o - to print it \
         nevertheless",
        media_type.unwrap_or("of unknown media type")
    )))
}

enum OutputWriter {
    Stdout(StdoutWriter),
    File(FileWriter),
}

impl OutputWriter {
    async fn write(&mut self, chunk: &[u8]) -> Result<(), CommandError> {
        match self {
            Self::Stdout(stdout) => stdout.write(chunk).await,
            Self::File(file) => file.write(chunk).await,
        }
    }

    async fn finish(self) -> Result<(), CommandError> {
        match self {
            Self::Stdout(stdout) => stdout.finish().await,
            Self::File(file) => file.finish().await,
        }
    }

    /// Ends the output after the store failed to deliver all bytes. Returns the error of the command. A temporary file
    /// is deleted, because its writer is dropped.
    async fn abort(self, error: &artifact_store::StoreError) -> CommandError {
        let output = match &self {
            Self::Stdout(_) => "standard output".to_owned(),
            Self::File(file) => match file.special_path() {
                Some(path) => path.display().to_string(),
                None => return CommandError::caused_by("nothing was written", error),
            },
        };
        // The bytes that were received so far are still written. The exit code says that the output is not complete.
        let _ = self.finish().await;
        CommandError::caused_by(format!("{output} does not have all bytes of the artifact"), error)
    }
}

/// Parses `A-B`, `A-` or `-N`, with the meaning of HTTP ranges: `A-B` includes the byte B.
fn parse_range(text: &str) -> Result<ByteRange, String> {
    let parse_number = |text: &str| {
        // `parse` alone would also accept a plus sign.
        let has_only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if has_only_digits { text.parse::<u64>().ok() } else { None }
    };
    let parsed = match text.split_once('-') {
        Some(("", length)) => parse_number(length).map(ByteRange::Suffix),
        Some((start, "")) => parse_number(start).map(ByteRange::From),
        Some((start, last)) => match (parse_number(start), parse_number(last)) {
            (Some(start), Some(last)) if start <= last => {
                Some(ByteRange::Bounded { start, end: last.saturating_add(1) })
            }
            _ => None,
        },
        None => None,
    };
    parsed.ok_or_else(|| {
        "it takes 0-99 for the first hundred bytes, 100- for the rest, or -100 for the last hundred"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use artifact_store::ByteRange;

    use super::parse_range;

    #[test]
    fn a_range_includes_its_last_byte_as_in_http() {
        assert_eq!(parse_range("0-0"), Ok(ByteRange::Bounded { start: 0, end: 1 }));
        assert_eq!(parse_range("7-"), Ok(ByteRange::From(7)));
        assert_eq!(parse_range("-7"), Ok(ByteRange::Suffix(7)));
        assert_eq!(parse_range("5-18446744073709551615"), Ok(ByteRange::Bounded { start: 5, end: u64::MAX }));
    }

    #[test]
    fn other_texts_are_not_ranges() {
        for text in ["", "-", "5", "5-4", "a-b", "+1-2", "1-2-3", "0-1,3-4", "-18446744073709551616", "--1"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }
}
