//! `artifactd get`: an artifact's bytes go to standard output or into a file.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use artifact_store::{ArtifactStore, ByteRange, Get, Record};
use futures_util::StreamExt;

use super::Failure;
use super::out::Out;
use super::progress::Progress;
use super::save::{NewFile, Place};
use super::target::{ScopeArgs, StoreArgs, asked_id, no_such_artifact};

const EXAMPLES: &str = "\
A whole read is checked against the artifact's SHA-256: it ends with exit code 0 only if every byte is as it was put.
A file appears whole or not at all.

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
    /// Write into this file; - is standard output, even where it is a terminal
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file where it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// Only these bytes: from A up to and with B, from A on, or the last N
    #[arg(long, value_name = "A-B|A-|-N", value_parser = range, allow_hyphen_values = true)]
    range: Option<ByteRange>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

pub(super) async fn run(args: GetArgs) -> Result<(), Failure> {
    let place = match &args.output {
        Some(path) if path != Path::new("-") => Some(Place::new(path, args.force)?),
        _ => None,
    };
    args.store.run_reading(async |store| get(store, &args, place).await).await
}

async fn get(store: &dyn ArtifactStore, args: &GetArgs, place: Option<Place>) -> Result<(), Failure> {
    let id = asked_id(&args.id)?;
    let get = store.get(&args.scope.scope(), &id, args.range).await?;
    let Get { record, range, mut stream } = get.ok_or_else(no_such_artifact)?;
    let on_terminal = place.is_none() && std::io::stdout().is_terminal();
    if on_terminal && args.output.is_none() {
        fit_for_terminal(&record)?;
    }
    let mut sink = match place {
        Some(place) => Sink::File(place.create().await?),
        None => Sink::Stdout(Out::new()),
    };
    let progress = Progress::start(Some(range.end - range.start), !args.quiet && !on_terminal);
    let count = progress.counter();
    while let Some(piece) = stream.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                drop(progress);
                return Err(sink.cut_short(&error).await);
            }
        };
        sink.write(&piece).await?;
        count(piece.len());
    }
    sink.finish().await
}

/// Bytes that are no text may do anything to a terminal.
fn fit_for_terminal(record: &Record) -> Result<(), Failure> {
    let media_type = record.options.media_type.as_deref();
    if media_type.is_some_and(|media_type| media_type.to_ascii_lowercase().starts_with("text/")) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the artifact is {}, and standard output is a terminal; name a file with -o FILE, or give -o - to see it all the \
         same",
        media_type.unwrap_or("of no known media type")
    )))
}

enum Sink {
    Stdout(Out),
    File(NewFile),
}

impl Sink {
    async fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(out) => out.write(piece).await,
            Self::File(file) => file.write(piece).await,
        }
    }

    async fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(out) => out.finish().await,
            Self::File(file) => file.finish().await,
        }
    }

    /// The store failed in the middle.
    async fn cut_short(self, error: &artifact_store::StoreError) -> Failure {
        match self {
            Self::Stdout(out) => {
                // What is right so far goes out; that it is not all, the exit code says.
                let _ = out.finish().await;
                Failure::caused("the bytes on standard output are not the whole answer", error)
            }
            Self::File(_) => Failure::caused("nothing was written", error),
        }
    }
}

/// `A-B`, `A-` or `-N`, counted as HTTP does.
fn range(text: &str) -> Result<ByteRange, String> {
    let number = |text: &str| {
        Some(text)
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse::<u64>().ok())
    };
    let parsed = match text.split_once('-') {
        Some(("", length)) => number(length).map(ByteRange::Suffix),
        Some((start, "")) => number(start).map(ByteRange::From),
        Some((start, last)) => match (number(start), number(last)) {
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

    use super::range;

    #[test]
    fn a_range_counts_its_last_byte_as_http_does() {
        assert_eq!(range("0-0"), Ok(ByteRange::Bounded { start: 0, end: 1 }));
        assert_eq!(range("7-"), Ok(ByteRange::From(7)));
        assert_eq!(range("-7"), Ok(ByteRange::Suffix(7)));
        assert_eq!(range("5-18446744073709551615"), Ok(ByteRange::Bounded { start: 5, end: u64::MAX }));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "-", "5", "5-4", "a-b", "+1-2", "1-2-3", "0-1,3-4", "-18446744073709551616", "--1"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
