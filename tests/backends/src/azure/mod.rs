//! A **stand-in** for Azure Blob Storage, for tests where neither Azure nor Azurite can be reached. It is not Azure:
//! what passes on it is shown to follow the documentation, as far as the stand-in follows it.
//!
//! It speaks what a client needs to store blobs: Put Blob (block blobs), Put Block, Put Block List, Get Blob with ranges,
//! Get Blob Properties, Delete Blob, Copy Blob within the account, List Blobs, Get Block List, Blob Batch of deletions, and
//! Create and Delete Container. Addresses are those of an emulator: `http://host:port/ACCOUNT/CONTAINER/BLOB`.
//!
//! It verifies Shared Key and the service SAS by the published algorithms, with the clock, and honours conditional
//! headers. A commit is one step under a lock, so of racing writers with `If-None-Match: *` one wins. A blob appears by a
//! rename, so the program may be killed at any time. Every other request is refused with 501. What it leaves out:
//! `docs/testing.md`.
//!
//! This module must never know who uses it.

mod auth;
mod batch;
mod conditions;
mod container;
mod error;
mod list;
mod properties;
mod put;
mod read;
pub(crate) mod sas;
pub(crate) mod shared_key;
pub(crate) mod target;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::HeaderValue;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::Error;
use crate::http_server::{self, Body, full};

use auth::Grant;
use conditions::Access;
use container::Container;
use error::{Failure, bad_request, refuse};
use target::Target;

/// The version of the protocol that the stand-in follows.
pub(crate) const VERSION: &str = "2023-11-03";

/// The account with its containers.
struct StandIn {
    root: PathBuf,
    account: String,
    key: String,
    containers: Mutex<HashMap<String, Arc<Container>>>,
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandIn").field("account", &self.account).finish_non_exhaustive()
    }
}

/// Serves the stand-in at `address` forever. `root` is a directory, which keeps everything; each directory in it is a
/// container. `key` is the account's key in base64.
///
/// # Errors
/// If the address cannot be bound, or if what is in `root` cannot be read.
pub async fn serve_azure_stand_in(
    address: SocketAddr,
    root: &Path,
    account: &str,
    key: &str,
) -> Result<(), Error> {
    let mut containers = HashMap::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        containers.insert(name, Arc::new(Container::open(entry.path())?));
    }
    let stand_in = StandIn {
        root: root.to_owned(),
        account: account.to_owned(),
        key: key.to_owned(),
        containers: Mutex::new(containers),
    };
    http_server::serve(address, stand_in, handle).await
}

async fn handle(stand_in: Arc<StandIn>, request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let (head, mut body) = request.into_parts();
    let mut response = match respond(&stand_in, &head, &mut body).await {
        Ok(response) => response,
        Err(Failure::Broken(error)) => return Err(error),
        Err(Failure::Refused(error)) => {
            // A client that is still sending reads the answer only afterwards.
            while let Some(Ok(_)) = body.frame().await {}
            error.response(&head.method)
        }
    };
    let headers = response.headers_mut();
    headers.insert("x-ms-version", HeaderValue::from_static(VERSION));
    headers.insert("server", HeaderValue::from_static("artifact-store azure-stand-in"));
    Ok(response)
}

async fn respond(stand_in: &StandIn, head: &Parts, body: &mut Incoming) -> Result<Response<Body>, Failure> {
    let target = Target::parse(&head.uri)?;
    let grant = auth::authenticate(stand_in, head, &target)?;
    let (restype, comp) = (target.query.get("restype"), target.query.get("comp"));
    if target.container.is_empty() {
        return Err(not_implemented(head));
    }
    if target.blob.is_empty() {
        return match (&head.method, restype, comp) {
            (&Method::PUT, Some("container"), None) => {
                grant.require_account_key()?;
                stand_in.create_container(&target.container)
            }
            (&Method::DELETE, Some("container"), None) => {
                grant.require_account_key()?;
                stand_in.delete_container(&target.container)
            }
            (&Method::GET, Some("container"), Some("list")) => {
                list::list(&*stand_in.container(&target.container)?, &target, &grant)
            }
            (&Method::POST, Some("container"), Some("batch")) => {
                batch::batch(stand_in, &target.container, head, body).await
            }
            _ => Err(not_implemented(head)),
        };
    }
    let container = stand_in.container(&target.container)?;
    match (&head.method, comp) {
        (&Method::PUT, None) if head.headers.contains_key("x-ms-copy-source") => {
            put::copy(stand_in, &container, &target, head, &grant).await
        }
        (&Method::PUT, None) => put::put_blob(&container, &target, head, &grant, body).await,
        (&Method::PUT, Some("block")) => put::put_block(&container, &target, head, &grant, body).await,
        (&Method::PUT, Some("blocklist")) => {
            put::put_block_list(&container, &target, head, &grant, body).await
        }
        (&Method::GET | &Method::HEAD, None) => read::read(&container, &target, head, &grant).await,
        (&Method::GET, Some("blocklist")) => read::block_list(&container, &target, &grant),
        (&Method::DELETE, None) => {
            delete(&container, &target, head, &grant)?;
            put::status(StatusCode::ACCEPTED)
        }
        _ => Err(not_implemented(head)),
    }
}

/// Deletes a blob.
fn delete(container: &Container, target: &Target, head: &Parts, grant: &Grant) -> Result<(), Failure> {
    grant.require("d")?;
    let check = |blob: Option<&_>| match blob {
        Some(_) => conditions::check(&head.headers, blob, Access::Write),
        None => Ok(()),
    };
    if container.delete(&target.blob, check)? { Ok(()) } else { Err(blob_not_found()) }
}

impl StandIn {
    fn containers(&self) -> MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container(&self, name: &str) -> Result<Arc<Container>, Failure> {
        self.containers().get(name).cloned().ok_or_else(container_not_found)
    }

    fn create_container(&self, name: &str) -> Result<Response<Body>, Failure> {
        let letters =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !(3..=63).contains(&name.len()) || !name.split('-').all(|word| !word.is_empty() && letters(word)) {
            let message = "a container has 3 to 63 lower-case letters, digits and single hyphens";
            return Err(bad_request("InvalidResourceName", message));
        }
        let mut containers = self.containers();
        if containers.contains_key(name) {
            return Err(refuse(StatusCode::CONFLICT, "ContainerAlreadyExists", "the container exists"));
        }
        let dir = self.root.join(name);
        std::fs::create_dir(&dir)?;
        containers.insert(name.to_owned(), Arc::new(Container::open(dir)?));
        put::status(StatusCode::CREATED)
    }

    fn delete_container(&self, name: &str) -> Result<Response<Body>, Failure> {
        if self.containers().remove(name).is_none() {
            return Err(container_not_found());
        }
        std::fs::remove_dir_all(self.root.join(name))?;
        put::status(StatusCode::ACCEPTED)
    }
}

fn container_not_found() -> Failure {
    refuse(StatusCode::NOT_FOUND, "ContainerNotFound", "the container does not exist")
}

fn blob_not_found() -> Failure {
    refuse(StatusCode::NOT_FOUND, "BlobNotFound", "the blob does not exist")
}

fn not_implemented(head: &Parts) -> Failure {
    let message = format!("the stand-in does not know {} {}", head.method, head.uri.path());
    refuse(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
}

fn xml_response(document: String) -> Response<Body> {
    let mut response = Response::new(full(document));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/xml"));
    response
}
