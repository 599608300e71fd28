//! Servers for scripts: `backends up [postgres] [garage] [s3s-fs] [--via local|docker]`.
//!
//! It prints one `export ARTIFACT_STORE_TEST_…=…` line for each server, then `ready`, and stays until its standard input
//! ends or until TERM or INT. The servers go with it, however it ends.

use std::io::Write;
use std::process::ExitCode;

use artifact_store_backends::{Error, Postgres, S3, S3Kind, Via};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: backends up [postgres] [garage] [s3s-fs] [--via local|docker]";

#[tokio::main]
async fn main() -> ExitCode {
    match run(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "backends: {error}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let (names, via) = parse(arguments)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let until = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
            () = end_of_input() => {}
        }
    };
    tokio::pin!(until);
    // Whoever asks for the end while the servers come up does not wait for them.
    let servers = tokio::select! {
        servers = up(&names, via) => servers?,
        () = &mut until => return Ok(()),
    };
    until.await;
    for server in servers {
        server.end().await?;
    }
    Ok(())
}

enum Server {
    Postgres(Postgres),
    S3(S3),
}

impl Server {
    async fn end(self) -> Result<(), Error> {
        match self {
            Server::Postgres(postgres) => postgres.end().await,
            Server::S3(s3) => s3.end().await,
        }
    }
}

async fn up(names: &[String], via: Option<Via>) -> Result<Vec<Server>, Error> {
    let mut servers = Vec::new();
    for name in names {
        let (variable, url, server) = match name.as_str() {
            "postgres" => {
                let postgres = Postgres::via(via).await?;
                ("POSTGRES", postgres.url().to_owned(), Server::Postgres(postgres))
            }
            "garage" => s3(S3::via(S3Kind::Garage, via).await?),
            _ => s3(S3::via(S3Kind::S3sFs, via).await?),
        };
        servers.push(server);
        writeln!(std::io::stdout(), "export ARTIFACT_STORE_TEST_{variable}_URL='{url}'")?;
    }
    writeln!(std::io::stdout(), "ready")?;
    std::io::stdout().flush()?;
    Ok(servers)
}

fn s3(s3: S3) -> (&'static str, String, Server) {
    let variable = match s3.kind() {
        S3Kind::Garage => "GARAGE",
        S3Kind::S3sFs => "S3S_FS",
    };
    (variable, s3.url(), Server::S3(s3))
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(Vec<String>, Option<Via>), Error> {
    if arguments.next().as_deref() != Some("up") {
        return Err(USAGE.into());
    }
    let (mut names, mut via) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "postgres" | "garage" | "s3s-fs" => names.push(argument),
            "--via" => {
                via = match arguments.next().as_deref() {
                    Some("local") => Some(Via::Local),
                    Some("docker") => Some(Via::Docker),
                    _ => return Err(USAGE.into()),
                };
            }
            _ => return Err(USAGE.into()),
        }
    }
    if names.is_empty() { Err(USAGE.into()) } else { Ok((names, via)) }
}

/// Not by the runtime's own standard input, whose blocked thread would hold up the end of the program.
async fn end_of_input() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop).unwrap_or_default();
        drop(sender);
    });
    receiver.await.unwrap_or_default();
}
