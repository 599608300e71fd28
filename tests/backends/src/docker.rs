//! Servers as containers of the repository's `docker-compose.yml`, each in a separate compose project.
//!
//! testcontainers runs `docker compose` and talks to the engine. It deletes nothing of a killed process, so a supervisor
//! deletes the project.

use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testcontainers::compose::DockerCompose;
use testcontainers::core::{WaitFor, client::docker_client_instance};
use testcontainers::{GenericImage, runners::AsyncRunner};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, ports};

/// The time limit for a response of the Docker engine.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for a registry to confirm that it has an image, before the pull.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);
const PULL_TIMEOUT: Duration = Duration::from_mins(5);
const STARTUP_TIMEOUT: Duration = Duration::from_secs(90);
/// Deletes the project. If its process was killed during the start, `docker compose up` still runs, and is waited for.
const DELETE_PROJECT: &str = r#"tries=0
while pgrep -f -- "--project-name $PROJECT -f" && [ $((tries += 1)) -lt 900 ]; do sleep 0.1; done
docker compose --project-name "$PROJECT" -f "$FILE" down -v -t 0"#;

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

    /// The variable of the compose file for a setting of this service.
    fn variable(self, setting: &str) -> String {
        format!("{}_{setting}", self.name().to_uppercase())
    }

    fn image(self) -> String {
        let default = match self {
            Service::Postgres => "postgres:17",
            Service::Garage => "dxflrs/garage:v2.5.0",
        };
        let image = std::env::var(self.variable("IMAGE")).ok().filter(|image| !image.is_empty());
        image.unwrap_or_else(|| default.to_owned())
    }
}

/// Checks that the engine and `docker compose` respond, and that the image exists or can be pulled. The error says what
/// is missing.
pub(crate) async fn ensure_available(service: Service) -> Result<(), Error> {
    let ping = async { Ok::<_, Error>(docker_client_instance().await?.ping().await?) };
    within(ENGINE_TIMEOUT, ping).await.map_err(|error| {
        format!("the Docker engine does not respond, start it or set DOCKER_HOST: {error}")
    })?;
    let image = service.image();
    ensure_image(&image).await.map_err(|error| {
        format!(
            "image {image} does not exist here and cannot be pulled ({error}): `docker pull` it, or build it with tests/images/build"
        )
    })?;
    let version = Command::new("docker").args(["compose", "version"]).kill_on_drop(true).output();
    match within(ENGINE_TIMEOUT, version).await {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("`docker compose version` fails: install Docker's plug-in, or run tests/install".into()),
    }
}

async fn ensure_image(image: &str) -> Result<(), Error> {
    let engine = docker_client_instance().await?;
    if within(ENGINE_TIMEOUT, engine.inspect_image(image)).await.is_ok() {
        return Ok(());
    }
    // A pull from a registry that never responds would take all its time.
    within(REGISTRY_TIMEOUT, engine.inspect_registry_image(image, None)).await?;
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    within(PULL_TIMEOUT, GenericImage::new(name, tag).pull_image()).await.map(drop)
}

async fn within<T, E: Into<Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    let result = tokio::time::timeout(limit, work).await;
    result.map_err(|_| format!("no response within {limit:?}"))?.map_err(Into::into)
}

/// A service in a separate compose project. The project and its volumes are deleted when this value is dropped.
#[derive(Debug)]
pub(crate) struct Container {
    /// Never dropped: its destructor blocks the runtime, needs one, and does not wait for an `up` in progress.
    compose: ManuallyDrop<Mutex<DockerCompose>>,
    supervisor: Supervisor,
    service: Service,
    address: SocketAddr,
}

impl Container {
    pub(crate) async fn up(service: Service) -> Result<Container, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let project = format!("artifact-store-test-{}-{number}", std::process::id());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker-compose.yml");
        let file = file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?;
        // A port chosen by Docker would change after a restart.
        let address = ports::find_free()?;
        let mut compose = DockerCompose::with_local_client(&[&file])
            .with_project_name(&project)
            .with_env(service.variable("PORT"), address.port().to_string())
            .with_wait(false)
            .with_wait_for_service(service.name(), WaitFor::healthcheck());
        for other in [Service::Postgres, Service::Garage] {
            compose = compose.with_env(other.variable("SCALE"), u8::from(other == service).to_string());
        }
        let compose = ManuallyDrop::new(Mutex::new(compose));
        let shutdown = ShutdownOptions {
            signal: "TERM",
            cleanup_script: DELETE_PROJECT.to_owned(),
            environment: vec![("PROJECT", project), ("FILE", file.to_string_lossy().into_owned())],
        };
        let supervisor = Supervisor::new(None, shutdown).await?;
        let container = Container { compose, supervisor, service, address };
        container.start().await?;
        Ok(container)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        let compose = self.compose.lock().await;
        let container = compose.service(self.service.name()).ok_or("the container was never started")?;
        let engine = docker_client_instance().await?;
        within(ENGINE_TIMEOUT, engine.kill_container(container.id(), None)).await
    }

    /// Starts the server, or starts it again, and waits until it is healthy.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        let mut compose = self.compose.lock().await;
        let Err(error) = within(STARTUP_TIMEOUT, compose.up()).await else { return Ok(()) };
        let log = match compose.service(self.service.name()) {
            Some(container) => within(ENGINE_TIMEOUT, container.stderr_to_vec()).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let log = String::from_utf8_lossy(&log);
        Err(format!("{:?} did not start as a container: {error}\n{log}", self.service).into())
    }

    pub(crate) async fn shutdown(self) -> Result<(), Error> {
        self.supervisor.shutdown().await
    }
}
