//! The operations of a runtime: put a file into a scope, pass on the ref, read it back, list it and delete it.
//!
//! ```text
//! cargo run --release --example embed -- FILE [URL] [--delete]
//! ```
//!
//! URL is `inmem:` (the default), `fs:some/folder`, `sqlite:some.db`, `postgres://…` or `s3://bucket/prefix`. Without
//! `--delete` the artifact of FILE is not deleted, so that a second run finds it. Every run puts and deletes a small
//! temporary artifact.
#![allow(clippy::print_stdout, clippy::print_stderr)] // This is a command-line program.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use artifact_store::prelude::*;
use artifact_store::{Config, Digest, Flag, core::Hasher};
use futures_util::TryStreamExt;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let delete =
        arguments.iter().position(|argument| argument == "--delete").map(|at| arguments.remove(at)).is_some();
    let (file, url) = match arguments.as_slice() {
        [file] => (file.as_str(), "inmem:"),
        [file, url] => (file.as_str(), url.as_str()),
        _ => {
            eprintln!("usage: embed FILE [URL] [--delete]   (URL: inmem:, fs:FOLDER, sqlite:FILE, …)");
            return ExitCode::from(2);
        }
    };
    match embed(Path::new(file), url, delete).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embed: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn embed(file: &Path, url: &str, delete: bool) -> Result<(), Box<dyn Error>> {
    // 1. Open the store once, at start, from your configuration, and keep the Arc.
    let config: Config = url.parse()?;
    let (store, took) = measure(artifact_store::open(&config)).await;
    let store = store?;
    let flags: Vec<_> =
        Flag::ALL.iter().filter(|flag| store.capabilities().has(**flag)).map(|flag| flag.as_str()).collect();
    let flags = if flags.is_empty() { "no flags".to_owned() } else { flags.join(", ") };
    // Do not print the URL: it may contain a password.
    println!("open    a store of the driver {} ({flags}) in {}", store.driver(), millis(took));

    // 2. Every artifact belongs to a scope.
    let scope = Scope::new("acme", "ada", "session-1")?.with_task("embed-example")?;

    // 3. Put: the file is streamed, so it is never completely in memory.
    let body = Body::from_path(file).await?;
    let options = PutOptions {
        filename: file.file_name().map(|name| name.to_string_lossy().into_owned()),
        source: Source::Tool,
        tags: vec!["example".into()],
        ..PutOptions::default()
    };
    let (put, took) = measure(store.put(&scope, body, options)).await;
    let put = put?;
    println!("put     {} bytes, {}, in {}", put.record.size, put.outcome, millis(took));

    // 4. Pass on the ref, which is small and can be written as JSON.
    let reference = put.record.artifact_ref();
    println!("ref     {}", serde_json::to_string(&reference)?);
    println!("digest  sha256 {}", reference.sha256);

    // 5. Read the whole artifact. The gate compares the SHA-256 during the read. This example computes the SHA-256
    //    again, to show that the bytes are equal.
    let (digest, took) = measure(read_back(&*store, &reference)).await;
    let digest = digest?;
    println!(
        "get     {} in {}",
        if digest == reference.sha256 { "equal" } else { "DIFFERENT" },
        millis(took)
    );

    // 6. Read a range.
    let (part, took) = measure(store.get_range(&reference.scope, &reference.id, 0..64)).await;
    let part = part?.ok_or("the artifact is gone")?;
    let (range, bytes) = (part.range.clone(), part.stream.collect_bytes(64).await?);
    println!(
        "range   bytes {}..{} of {}: {} bytes in {}",
        range.start,
        range.end,
        reference.size_bytes,
        bytes.len(),
        millis(took)
    );

    // 7. List the artifacts of the session.
    let query = ListQuery::new(ScopePattern::session_of(&scope)).with_total();
    let (page, took) = measure(store.list(&query)).await;
    let page = page?;
    println!("list    {} in this session, in {}", page.total.unwrap_or_default(), millis(took));
    for row in page.rows.iter().take(5) {
        let name = row.options.filename.as_deref().unwrap_or("-");
        println!("        {}  {:>10}  {}  {name}", row.created_at, row.size, row.id);
    }

    // 8. Delete an artifact. In the scope of another task the same bytes are another artifact, so the delete does not
    //    affect the artifact above.
    let scratch = store.scoped(Scope::new("acme", "ada", "session-1")?.with_task("scratch")?);
    let id = scratch.put(bytes, PutOptions::default()).await?.record.id;
    let (deleted, took) = measure(scratch.delete(&id)).await;
    let gone = deleted? && scratch.stat(&id).await?.is_none();
    println!("delete  {id} {} in {}", if gone { "gone" } else { "STILL THERE" }, millis(took));
    if delete {
        let deleted = store.delete(&reference.scope, &reference.id).await?;
        println!("delete  {} {}", reference.id, if deleted { "gone" } else { "was not there" });
    }

    // 9. Close the store before the process ends.
    store.close().await?;
    if digest == reference.sha256 { Ok(()) } else { Err("the artifact came back as other bytes".into()) }
}

async fn read_back(store: &dyn ArtifactStore, reference: &ArtifactRef) -> Result<Digest, Box<dyn Error>> {
    let get = store.get(&reference.scope, &reference.id, None).await?.ok_or("the artifact is gone")?;
    let mut stream = get.stream;
    let mut hasher = Hasher::new();
    while let Some(piece) = stream.try_next().await? {
        hasher.update(&piece);
    }
    Ok(hasher.finish())
}

async fn measure<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let value = future.await;
    (value, start.elapsed())
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}
