//! Servers as containers of the repository's `docker-compose.yml`, each in a separate compose project.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::readiness::Protocol;
use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, ports};

/// The time limit for a response of the Docker engine.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for a registry to confirm that it has an image, before the pull.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);
const PULL_TIMEOUT: Duration = Duration::from_mins(5);
const STARTUP_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

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

/// Checks that the engine responds, and that the image exists or can be pulled. The error says what is missing.
pub(crate) async fn ensure_available(service: Service) -> Result<(), Error> {
    run_command(&["docker", "info"], ENGINE_TIMEOUT)
        .await
        .map_err(|error| format!("the Docker engine does not respond: {error}"))?;
    let image = service.image();
    let image_ready = async {
        if run_command(&["docker", "image", "inspect", &image], ENGINE_TIMEOUT).await.is_ok() {
            return Ok(());
        }
        run_command(&["docker", "manifest", "inspect", &image], REGISTRY_TIMEOUT).await?;
        run_command(&["docker", "pull", "-q", &image], PULL_TIMEOUT).await
    };
    image_ready.await.map_err(|error: Error| {
        format!(
            "image {image} does not exist here and cannot be pulled ({error}); tests/images/build builds it"
        )
    })?;
    compose().await.map(drop)
}

/// The command line of compose: the plug-in of Docker, or the standalone program.
async fn compose() -> Result<&'static [&'static str], Error> {
    static COMMAND: OnceCell<&[&str]> = OnceCell::const_new();
    COMMAND.get_or_try_init(find_compose).await.copied()
}

async fn find_compose() -> Result<&'static [&'static str], Error> {
    let mut errors = Vec::new();
    for words in [&["docker", "compose"][..], &["docker-compose"][..]] {
        match run_command(&[words, &["version"]].concat(), ENGINE_TIMEOUT).await {
            Ok(()) => return Ok(words),
            Err(error) => errors.push(error.to_string()),
        }
    }
    Err(format!(
        "Docker is installed, but neither `docker compose` nor `docker-compose` works: {}",
        errors.join("; ")
    )
    .into())
}

async fn run_command(words: &[&str], limit: Duration) -> Result<(), Error> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output());
    let output = output.await.map_err(|_| format!("`{}` took longer than {limit:?}", words.join(" ")))??;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}`: {}", words.join(" "), text.trim().lines().last().unwrap_or("failed")).into())
}

/// A service in a separate compose project. The project and its volumes are deleted when this value is dropped.
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
        let file = compose_file()?.to_string_lossy().into_owned();
        // A port chosen by Docker would change after a restart.
        let address = ports::find_free()?;
        let shutdown = ShutdownOptions {
            signal: "TERM",
            cleanup_script: format!("{} -p \"$PROJECT\" -f \"$FILE\" down -v -t 0", words.join(" ")),
            environment: vec![("PROJECT", project.clone()), ("FILE", file.clone())],
        };
        let supervisor = Supervisor::new(None, shutdown).await?;
        let mut compose = vec!["env".to_owned(), format!("{}={}", service.port_variable(), address.port())];
        compose.extend(words.iter().map(|&word| word.to_owned()));
        compose.extend(["-p".to_owned(), project, "-f".to_owned(), file]);
        let container = Container { supervisor, compose, service, address, protocol };
        container.run_compose(&["up", "-d"]).await?;
        container.wait_until_ready().await?;
        Ok(container)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.run_compose(&["kill", "-s", "SIGKILL"]).await
    }

    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.run_compose(&["start"]).await?;
        self.wait_until_ready().await
    }

    pub(crate) async fn shutdown(self) -> Result<(), Error> {
        self.supervisor.shutdown().await
    }

    async fn run_compose(&self, words: &[&str]) -> Result<(), Error> {
        let words = words.iter().copied().chain([self.service.name()]).map(str::to_owned);
        self.supervisor.run(self.compose.iter().cloned().chain(words).collect()).await
    }

    async fn wait_until_ready(&self) -> Result<(), Error> {
        let deadline = Instant::now() + STARTUP_TIMEOUT;
        while let Err(error) = self.protocol.probe(self.address).await {
            if Instant::now() >= deadline {
                let logs = self.run_compose(&["logs", "--tail=50"]).await;
                let tail = self.supervisor.log_tail();
                return Err(format!("{:?} did not start: {error}\n{logs:?}\n{tail}", self.service).into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

fn compose_file() -> Result<PathBuf, Error> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker-compose.yml");
    file.canonicalize().map_err(|error| format!("{}: {error}", file.display()).into())
}
