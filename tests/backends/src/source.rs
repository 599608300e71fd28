//! The sources of servers: the environment, Docker, or a local process.

use crate::Error;
use crate::docker::{self, Service};

/// The variable that forces a source.
const VARIABLE: &str = "ARTIFACT_STORE_TEST_BACKENDS";

/// How to start a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchMethod {
    /// As a container of `docker-compose.yml`.
    Docker,
    /// As a local process.
    Local,
}

/// A source of servers that can be forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerSource {
    Env,
    Launch(LaunchMethod),
}

fn forced_source() -> Result<Option<ServerSource>, Error> {
    match std::env::var(VARIABLE).unwrap_or_default().as_str() {
        "" => Ok(None),
        "env" => Ok(Some(ServerSource::Env)),
        "docker" => Ok(Some(ServerSource::Launch(LaunchMethod::Docker))),
        "local" => Ok(Some(ServerSource::Launch(LaunchMethod::Local))),
        other => Err(format!("{VARIABLE} must be env, docker or local, not {other:?}").into()),
    }
}

/// Returns the URL in `variable`, or `None` if it is not set or another source is forced. It is an error if the
/// environment is forced and the variable is not set.
pub(crate) fn url_from_env(variable: &str) -> Result<Option<String>, Error> {
    let forced = forced_source()?;
    if matches!(forced, Some(ServerSource::Launch(_))) {
        return Ok(None);
    }
    match std::env::var(variable).ok().filter(|url| !url.is_empty()) {
        None if forced.is_some() => Err(format!("{VARIABLE}=env, but {variable} is not set").into()),
        url => Ok(url),
    }
}

/// Chooses how to start a server that has no given address: with `method` or the forced method if there is one, else
/// with Docker if available, else as a local process. It is an error if Docker is forced but not available.
pub(crate) async fn choose(service: Service, method: Option<LaunchMethod>) -> Result<LaunchMethod, Error> {
    match method.map(ServerSource::Launch).or(forced_source()?) {
        Some(ServerSource::Launch(LaunchMethod::Docker)) => {
            docker::ensure_available(service).await.map(|()| LaunchMethod::Docker)
        }
        None if docker::ensure_available(service).await.is_ok() => Ok(LaunchMethod::Docker),
        Some(_) | None => Ok(LaunchMethod::Local),
    }
}

/// Chooses how to start a dedicated server: as a local process if its program is installed, because that is faster to
/// kill and start. Otherwise Docker.
pub(crate) async fn choose_for_dedicated<T>(
    service: Service,
    program: &Result<T, Error>,
) -> Result<LaunchMethod, Error> {
    match (forced_source()?, program) {
        (Some(ServerSource::Launch(method)), _) => choose(service, Some(method)).await,
        (_, Ok(_)) => Ok(LaunchMethod::Local),
        (_, Err(error)) => match docker::ensure_available(service).await {
            Ok(()) => Ok(LaunchMethod::Docker),
            Err(docker) => Err(format!("{error} (Docker is not available either: {docker})").into()),
        },
    }
}
