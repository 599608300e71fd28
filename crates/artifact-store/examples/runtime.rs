//! A small runtime: what tools return goes into the store, and messages carry a ref instead of the bytes.
//!
//! ```text
//! cargo run --example runtime -- [URL]     (URL: inmem:, fs:FOLDER, sqlite:FILE, …)
//! ```
//! URL is `inmem:` by default. The program stores a text, writes it to `runtime.log` in the current folder (on a store
//! that signs no URLs), and deletes every artifact of its session.
#![allow(clippy::print_stdout)] // This is a command-line program.

use std::error::Error;
use std::time::Duration;

use artifact_store::{ArtifactRef, Flag, PresignIntent, ScopedStore, prelude::*};
use futures_util::TryStreamExt;
use tokio::io::AsyncBufReadExt;

/// A link for a browser, or the file that the runtime has written instead.
enum Download {
    Link(String),
    File(u64),
}

/// Stores what a tool returned. The same output again is the same artifact: it is stored once.
async fn tool_output(session: &ScopedStore, tool: &str, output: Body) -> Result<ArtifactRef, StoreError> {
    let options = PutOptions::new().with_source(Source::Tool).with_tag(tool);
    Ok(session.put(output, options).await?.record.artifact_ref())
}

/// A tool that reads an artifact line by line. The bytes are verified and are never completely in memory.
async fn count_lines(
    session: &ScopedStore,
    message: &ArtifactRef,
    word: &str,
) -> Result<usize, Box<dyn Error>> {
    let get = session.get(&message.id, None).await?.ok_or("there is no such artifact")?;
    let (mut lines, mut count) = (get.stream.into_reader().lines(), 0);
    while let Some(line) = lines.next_line().await? {
        count += usize::from(line.contains(word));
    }
    Ok(count)
}

/// A presigned URL, or a file if the store signs no URLs.
async fn download(
    session: &ScopedStore,
    message: &ArtifactRef,
    file: &str,
) -> Result<Download, Box<dyn Error>> {
    let intent = PresignIntent::Get { id: message.id.clone() };
    match session.presign(&intent, Duration::from_mins(5)).await {
        Ok(request) => {
            Ok(Download::Link(request.ok_or("there is no such artifact")?.url.reveal().to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::Unsupported(Flag::PresignGet) => {
            let get = session.get(&message.id, None).await?.ok_or("there is no such artifact")?;
            Ok(Download::File(get.save_to(file).await?))
        }
        Err(error) => Err(error.into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "inmem:".into());
    let store = artifact_store::open(&url.parse()?).await?;
    let session = store.scoped(Scope::new("acme", "ada", "example-runtime")?);

    let text = "GET /a 200\nGET /b 404\n".repeat(100_000);
    let log = tool_output(&session, "fetch", Body::from(text)).await?;
    println!("ref      {}", serde_json::to_string(&log)?);
    println!("lines    {} with 404", count_lines(&session, &log, " 404").await?);
    let page = session.get(&log.id, Some((..10).into())).await?.ok_or("there is no such artifact")?;
    println!("preview  {:?}", page.stream.collect_bytes(10).await?);
    match download(&session, &log, "runtime.log").await? {
        // Whoever has the URL can read the artifact, so only its length is printed.
        Download::Link(url) => println!("download by a presigned URL of {} characters", url.len()),
        Download::File(bytes) => println!("download {bytes} bytes to runtime.log"),
    }
    let mut rows = session.list_all(Filter::default());
    while let Some(row) = rows.try_next().await? {
        println!("delete   {} of {} bytes: {}", row.id, row.size, session.delete(&row.id).await?);
    }
    Ok(store.close().await?)
}
