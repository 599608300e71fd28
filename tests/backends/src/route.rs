//! Where servers may come from.

use crate::Error;
use crate::docker::{self, Service};

/// The variable that forces a route.
const VARIABLE: &str = "ARTIFACT_STORE_TEST_BACKENDS";

/// How a server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// As a container of `docker-compose.yml`.
    Docker,
    /// As a process.
    Local,
}

/// The only source of servers, where one is forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Env,
    Start(Via),
}

fn forced() -> Result<Option<Route>, Error> {
    match std::env::var(VARIABLE).unwrap_or_default().as_str() {
        "" => Ok(None),
        "env" => Ok(Some(Route::Env)),
        "docker" => Ok(Some(Route::Start(Via::Docker))),
        "local" => Ok(Some(Route::Start(Via::Local))),
        other => Err(format!("{VARIABLE} is env, docker or local, not {other:?}").into()),
    }
}

/// The URL in `variable`, unless another route is forced; an error if this route is forced and nothing is there.
pub(crate) fn given(variable: &str) -> Result<Option<String>, Error> {
    let forced = forced()?;
    if matches!(forced, Some(Route::Start(_))) {
        return Ok(None);
    }
    match std::env::var(variable).ok().filter(|url| !url.is_empty()) {
        None if forced.is_some() => Err(format!("{VARIABLE}=env, but {variable} is not set").into()),
        url => Ok(url),
    }
}

/// How a server is started that no address was given for: by Docker, if it can. Forced, a reason against it is an error.
pub(crate) async fn choose(service: Service, via: Option<Via>) -> Result<Via, Error> {
    match via.map(Route::Start).or(forced()?) {
        Some(Route::Start(Via::Docker)) => docker::available(service).await.map(|()| Via::Docker),
        None if docker::available(service).await.is_ok() => Ok(Via::Docker),
        Some(_) | None => Ok(Via::Local),
    }
}

/// How a server of a test's own is started: as a process, if its program is there, which is quicker to kill and start.
pub(crate) async fn choose_own<T>(service: Service, program: &Result<T, Error>) -> Result<Via, Error> {
    match (forced()?, program) {
        (Some(Route::Start(via)), _) => choose(service, Some(via)).await,
        (_, Ok(_)) => Ok(Via::Local),
        (_, Err(error)) => match docker::available(service).await {
            Ok(()) => Ok(Via::Docker),
            Err(docker) => Err(format!("{error} (nor by Docker: {docker})").into()),
        },
    }
}
