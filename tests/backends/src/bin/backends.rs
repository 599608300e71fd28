//! Starts servers for scripts: `backends up SERVER… [--via local|docker]`, where a server is `postgres`,
//! `garage`, `s3s-fs`, `moto`, `fake-gcs` or `azure-stand-in`.
//!
//! It prints one `export ARTIFACT_STORE_TEST_…=…` line for each server, then `ready`. It runs until its standard input
//! ends or it receives TERM or INT. The servers end with it, even if it is killed.

use std::io::Write;
use std::process::ExitCode;

use artifact_store_backends::{AzureStandIn, Conditions, Error, FakeGcs, LaunchMethod, Postgres, S3, S3Kind};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str =
    "usage: backends up [postgres] [garage] [s3s-fs] [moto] [fake-gcs] [azure-stand-in] [--via local|docker]";

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
    let (names, method) = parse(arguments)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let shutdown_signal = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
            () = end_of_input() => {}
        }
    };
    tokio::pin!(shutdown_signal);
    // A shutdown signal during the start does not wait for the servers.
    let servers = tokio::select! {
        servers = up(&names, method) => servers?,
        () = &mut shutdown_signal => return Ok(()),
    };
    shutdown_signal.await;
    for server in servers {
        server.shutdown().await?;
    }
    Ok(())
}

enum Server {
    Postgres(Postgres),
    S3(S3),
    FakeGcs(FakeGcs),
    AzureStandIn(AzureStandIn),
}

impl Server {
    async fn shutdown(self) -> Result<(), Error> {
        match self {
            Server::Postgres(postgres) => postgres.shutdown().await,
            Server::S3(s3) => s3.shutdown().await,
            Server::FakeGcs(gcs) => gcs.shutdown().await,
            Server::AzureStandIn(azure) => azure.shutdown().await,
        }
    }
}

async fn up(names: &[String], method: Option<LaunchMethod>) -> Result<Vec<Server>, Error> {
    let mut servers = Vec::new();
    for name in names {
        let (variable, url, server) = match name.as_str() {
            "postgres" => {
                let postgres = Postgres::launch(method).await?;
                ("POSTGRES", postgres.url().to_owned(), Server::Postgres(postgres))
            }
            "fake-gcs" => {
                // The tests put an adapter of their own in front of it.
                let gcs = FakeGcs::dedicated(Conditions::Honoured).await?;
                ("FAKE_GCS", gcs.url(), Server::FakeGcs(gcs))
            }
            "azure-stand-in" => {
                let azure = AzureStandIn::dedicated().await?;
                ("AZURE_STAND_IN", azure.url(), Server::AzureStandIn(azure))
            }
            "moto" => s3(S3::launch(S3Kind::Moto, method).await?),
            "garage" => s3(S3::launch(S3Kind::Garage, method).await?),
            _ => s3(S3::launch(S3Kind::S3sFs, method).await?),
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
        S3Kind::Moto => "MOTO",
    };
    (variable, s3.url(), Server::S3(s3))
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(Vec<String>, Option<LaunchMethod>), Error> {
    if arguments.next().as_deref() != Some("up") {
        return Err(USAGE.into());
    }
    let (mut names, mut method) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "postgres" | "garage" | "s3s-fs" | "moto" | "fake-gcs" | "azure-stand-in" => names.push(argument),
            "--via" => {
                method = match arguments.next().as_deref() {
                    Some("local") => Some(LaunchMethod::Local),
                    Some("docker") => Some(LaunchMethod::Docker),
                    _ => return Err(USAGE.into()),
                };
            }
            _ => return Err(USAGE.into()),
        }
    }
    if names.is_empty() { Err(USAGE.into()) } else { Ok((names, method)) }
}

/// Waits for the end of standard input. tokio's `stdin` is not used: its blocked thread would delay the exit.
async fn end_of_input() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop).unwrap_or_default();
        drop(sender);
    });
    receiver.await.unwrap_or_default();
}
