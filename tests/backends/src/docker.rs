//! Servers as containers, by the repository's `docker-compose.yml`, each in a project of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::ready::Protocol;
use crate::supervisor::{Ending, Supervisor};
use crate::{Error, ports};

/// The engine has so long to say that it is there.
const ENGINE: Duration = Duration::from_secs(5);
/// A registry has so long to say that it has an image, before the image is pulled.
const REGISTRY: Duration = Duration::from_secs(10);
const PULL: Duration = Duration::from_mins(5);
const UP: Duration = Duration::from_secs(90);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);

/// A service of the compose file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Postgres,
    Garage,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::Postgres => "postgres",
            Service::Garage => "garage",
        }
    }

    fn port_variable(self) -> &'static str {
        match self {
            Service::Postgres => "POSTGRES_PORT",
            Service::Garage => "GARAGE_PORT",
        }
    }

    fn image(self) -> String {
        let (variable, default) = match self {
            Service::Postgres => ("POSTGRES_IMAGE", "postgres:17"),
            Service::Garage => ("GARAGE_IMAGE", "dxflrs/garage:v2.5.0"),
        };
        std::env::var(variable).ok().filter(|image| !image.is_empty()).unwrap_or_else(|| default.to_owned())
    }
}

/// Whether the engine answers and has the image, or gets it; the error says what is missing.
pub(crate) async fn available(service: Service) -> Result<(), Error> {
    succeeds(&["docker", "info"], ENGINE)
        .await
        .map_err(|error| format!("no Docker engine answers: {error}"))?;
    let image = service.image();
    let here = async {
        if succeeds(&["docker", "image", "inspect", &image], ENGINE).await.is_ok() {
            return Ok(());
        }
        succeeds(&["docker", "manifest", "inspect", &image], REGISTRY).await?;
        succeeds(&["docker", "pull", "-q", &image], PULL).await
    };
    here.await.map_err(|error: Error| {
        format!("image {image} is not here and cannot be pulled ({error}); tests/images/build makes one")
    })?;
    compose().await.map(drop)
}

/// The words that call compose: the plug-in, or the program of its own.
async fn compose() -> Result<&'static [&'static str], Error> {
    static WORDS: OnceCell<&[&str]> = OnceCell::const_new();
    WORDS.get_or_try_init(find_compose).await.copied()
}

async fn find_compose() -> Result<&'static [&'static str], Error> {
    let mut why = Vec::new();
    for words in [&["docker", "compose"][..], &["docker-compose"][..]] {
        match succeeds(&[words, &["version"]].concat(), ENGINE).await {
            Ok(()) => return Ok(words),
            Err(error) => why.push(error.to_string()),
        }
    }
    Err(format!(
        "Docker is here, but neither `docker compose` nor `docker-compose` answers: {}",
        why.join("; ")
    )
    .into())
}

async fn succeeds(words: &[&str], limit: Duration) -> Result<(), Error> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output());
    let output = output.await.map_err(|_| format!("`{}` took over {limit:?}", words.join(" ")))??;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}`: {}", words.join(" "), text.trim().lines().last().unwrap_or("failed")).into())
}

/// A service that runs in a project of its own, which goes with this value, volumes and all.
#[derive(Debug)]
pub(crate) struct Container {
    supervisor: Supervisor,
    compose: Vec<String>,
    service: Service,
    address: SocketAddr,
    protocol: Protocol,
}

impl Container {
    pub(crate) async fn up(service: Service, protocol: Protocol) -> Result<Container, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let words = compose().await?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let project = format!("artifact-store-test-{}-{number}", std::process::id());
        let file = file()?.to_string_lossy().into_owned();
        // Not left to Docker: a port of its choice would be another one after a restart.
        let address = ports::free()?;
        let ending = Ending {
            signal: "TERM",
            finally: format!("{} -p \"$PROJECT\" -f \"$FILE\" down -v -t 0", words.join(" ")),
            environment: vec![("PROJECT", project.clone()), ("FILE", file.clone())],
        };
        let supervisor = Supervisor::new(None, ending).await?;
        let mut compose = vec!["env".to_owned(), format!("{}={}", service.port_variable(), address.port())];
        compose.extend(words.iter().map(|&word| word.to_owned()));
        compose.extend(["-p".to_owned(), project, "-f".to_owned(), file]);
        let container = Container { supervisor, compose, service, address, protocol };
        container.call(&["up", "-d"]).await?;
        container.answers().await?;
        Ok(container)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.call(&["kill", "-s", "SIGKILL"]).await
    }

    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.call(&["start"]).await?;
        self.answers().await
    }

    pub(crate) async fn end(self) -> Result<(), Error> {
        self.supervisor.end().await
    }

    async fn call(&self, words: &[&str]) -> Result<(), Error> {
        let words = words.iter().copied().chain([self.service.name()]).map(str::to_owned);
        self.supervisor.run(self.compose.iter().cloned().chain(words).collect()).await
    }

    async fn answers(&self) -> Result<(), Error> {
        let by = Instant::now() + UP;
        while let Err(error) = self.protocol.ask(self.address).await {
            if Instant::now() >= by {
                let logs = self.call(&["logs", "--tail=50"]).await;
                let tail = self.supervisor.log_tail();
                return Err(format!("{:?} does not come up: {error}\n{logs:?}\n{tail}", self.service).into());
            }
            tokio::time::sleep(BETWEEN_QUESTIONS).await;
        }
        Ok(())
    }
}

fn file() -> Result<PathBuf, Error> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker-compose.yml");
    file.canonicalize().map_err(|error| format!("{}: {error}", file.display()).into())
}
