//! The sources of servers: the environment, Docker, or a local process.

use crate::Error;
use crate::docker::{self, Service};

/// The variable that forces sources.
const VARIABLE: &str = "ARTIFACT_STORE_TEST_BACKENDS";

/// How to start a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchMethod {
    /// As a container of `docker-compose.yml`.
    Docker,
    /// As a local process.
    Local,
}

/// The sources of servers that can be forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerSource {
    Env,
    Launch(LaunchMethod),
    /// An address in the environment. A server that has none, and a dedicated one, is launched with this method.
    EnvOrLaunch(LaunchMethod),
}

impl ServerSource {
    /// The value of the variable that forces the source; `None` if `value` is empty.
    fn parse(value: &str) -> Result<Option<ServerSource>, Error> {
        Ok(Some(match value {
            "" => return Ok(None),
            "env" => ServerSource::Env,
            "docker" => ServerSource::Launch(LaunchMethod::Docker),
            "local" => ServerSource::Launch(LaunchMethod::Local),
            "env,docker" => ServerSource::EnvOrLaunch(LaunchMethod::Docker),
            "env,local" => ServerSource::EnvOrLaunch(LaunchMethod::Local),
            other => {
                return Err(format!(
                    "{VARIABLE} must be env, docker, local, env,docker or env,local, not {other:?}"
                )
                .into());
            }
        }))
    }

    /// How servers must be launched; `None` if that is not forced.
    fn method(self) -> Option<LaunchMethod> {
        match self {
            ServerSource::Env => None,
            ServerSource::Launch(method) | ServerSource::EnvOrLaunch(method) => Some(method),
        }
    }
}

fn forced_source() -> Result<Option<ServerSource>, Error> {
    ServerSource::parse(&std::env::var(VARIABLE).unwrap_or_default())
}

/// Returns the URL in `variable`, or `None` if it is not set or another source is forced. It is an error if only the
/// environment is allowed and the variable is not set.
pub(crate) fn url_from_env(variable: &str) -> Result<Option<String>, Error> {
    let forced = forced_source()?;
    if matches!(forced, Some(ServerSource::Launch(_))) {
        return Ok(None);
    }
    match std::env::var(variable).ok().filter(|url| !url.is_empty()) {
        None if forced == Some(ServerSource::Env) => {
            Err(format!("{VARIABLE}=env, but {variable} is not set").into())
        }
        url => Ok(url),
    }
}

/// Chooses how to start a server that has no given address: with `method` or the forced method if there is one, else
/// with Docker if available, else as a local process. It is an error if Docker is forced but not available.
pub(crate) async fn choose(service: Service, method: Option<LaunchMethod>) -> Result<LaunchMethod, Error> {
    let forced = forced_source()?;
    match method.or_else(|| forced.and_then(ServerSource::method)) {
        Some(LaunchMethod::Docker) => docker::ensure_available(service).await.map(|()| LaunchMethod::Docker),
        None if forced.is_none() && docker::ensure_available(service).await.is_ok() => {
            Ok(LaunchMethod::Docker)
        }
        Some(LaunchMethod::Local) | None => Ok(LaunchMethod::Local),
    }
}

/// Chooses how to start a dedicated server: as a local process if its program is installed, because that is faster to
/// kill and start. Otherwise Docker.
pub(crate) async fn choose_for_dedicated<T>(
    service: Service,
    program: &Result<T, Error>,
) -> Result<LaunchMethod, Error> {
    match (forced_source()?.and_then(ServerSource::method), program) {
        (Some(method), _) => choose(service, Some(method)).await,
        (_, Ok(_)) => Ok(LaunchMethod::Local),
        (_, Err(error)) => match docker::ensure_available(service).await {
            Ok(()) => Ok(LaunchMethod::Docker),
            Err(docker) => Err(format!("{error} (Docker is not available either: {docker})").into()),
        },
    }
}
