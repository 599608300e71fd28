//! fake-gcs-server as a local process, with an adapter in front of it that translates the XML API.
//!
//! It is a server for Google Cloud Storage that checks no credentials. Its objects are files, so they outlive a kill. What
//! the adapter translates, and what is the server's own behaviour: `gcs_adapter/mod.rs`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use hyper::{Method, Response, StatusCode};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::gcs_adapter::{Conditions, JsonApi, uploads_bucket_of};
use crate::http_server::full;
use crate::process::ServerProcess;
use crate::readiness::Protocol;
use crate::s3::{BUCKET, unique_name};
use crate::server::{Server, ServerHost};
use crate::server_url::ServerUrl;
use crate::service_account::ServiceAccount;
use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, own_program, ports, programs, source, xml};

/// The version of the wheel, as in `tests/images/build`. It carries fake-gcs-server 1.54.
const VERSION: &str = "0.1.1";
const BIN_VARIABLE: &str = "ARTIFACT_STORE_TEST_FAKE_GCS_BIN";
const URL_VARIABLE: &str = "ARTIFACT_STORE_TEST_FAKE_GCS_URL";
const ADAPTER: &str = "fake-gcs-adapter";
/// The directory of the server's buckets, in the directory of its process.
const ROOT: &str = "root";
/// The extended attribute in which the server keeps an object's attributes.
const ATTRIBUTES: &str = "user.metadata";

/// A fake-gcs-server with an empty bucket, behind an adapter. The client of `object_store` speaks to the adapter.
#[derive(Debug)]
pub struct FakeGcs {
    server: Server,
    /// The address of fake-gcs-server itself.
    server_address: SocketAddr,
    adapter: ServerProcess,
    bucket: String,
    conditions: Conditions,
    service_account: ServiceAccount,
}

impl FakeGcs {
    /// Returns the server that all tests of this process share, behind an adapter with these conditions.
    ///
    /// # Errors
    /// If fake-gcs-server is not installed or does not start. The error says what to install.
    pub async fn shared(conditions: Conditions) -> Result<&'static FakeGcs, Error> {
        static HONOURED: OnceCell<FakeGcs> = OnceCell::const_new();
        static IGNORED: OnceCell<FakeGcs> = OnceCell::const_new();
        let cell = match conditions {
            Conditions::Honoured => &HONOURED,
            Conditions::Ignored => &IGNORED,
        };
        cell.get_or_try_init(|| FakeGcs::find_or_launch(conditions)).await
    }

    /// Starts a server for this caller only, so the caller may kill it. It ends when this value is dropped.
    ///
    /// # Errors
    /// As [`shared`](Self::shared).
    pub async fn dedicated(conditions: Conditions) -> Result<FakeGcs, Error> {
        let process = launch_server().await?;
        let server_address = process.address;
        let server = Server { host: ServerHost::Process(process), shared: false };
        FakeGcs::behind_adapter(server, server_address, BUCKET.to_owned(), conditions).await
    }

    /// `http://host:port` of the adapter: the base URL of a client.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.adapter.address)
    }

    /// The address on which the adapter listens.
    pub fn address(&self) -> SocketAddr {
        self.adapter.address
    }

    /// The bucket that exists from the start. Other tests may use it too.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What the server does with the conditions of a put.
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// The key of a service account as JSON, for the option `service_account_key` of a client. Its private key is a real
    /// one that was made for this value, so that tokens and URLs can be signed. The server checks neither.
    pub fn service_account_key(&self) -> &str {
        self.service_account.json()
    }

    /// The server itself, without the adapter, as the URL of `ARTIFACT_STORE_TEST_FAKE_GCS_URL`: `http://host:port/bucket`.
    pub fn url(&self) -> String {
        format!("http://{}/{}", self.server_address, self.bucket)
    }

    /// The directory of a dedicated server's files: a directory for each bucket.
    pub fn data_dir(&self) -> Option<PathBuf> {
        match &self.server.host {
            ServerHost::Process(process) => Some(process.supervisor.dir().join(ROOT)),
            _ => None,
        }
    }

    /// Creates an empty bucket and returns its name.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn create_bucket(&self) -> Result<String, Error> {
        let name = unique_name();
        create_bucket(self.server_address, &name).await?;
        Ok(name)
    }

    /// Deletes a bucket with its objects and uploads.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn delete_bucket(&self, bucket: &str) -> Result<(), Error> {
        let api = JsonApi::new(self.server_address, Conditions::Honoured);
        api.delete_bucket(&uploads_bucket_of(bucket)).await?;
        api.delete_bucket(bucket).await
    }

    /// The keys of the multipart uploads of a bucket that have neither been completed nor aborted.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn multipart_uploads(&self, bucket: &str) -> Result<Vec<String>, Error> {
        let adapter = JsonApi::new(self.adapter.address, Conditions::Honoured);
        let response = adapter.send(Method::GET, &format!("/{bucket}?uploads"), &[], full("")).await?;
        let document = response.into_body().collect().await?.to_bytes();
        let document = String::from_utf8(document.to_vec())?;
        let uploads = xml::elements(&document, &["Upload"]);
        Ok(uploads.iter().filter_map(|(_, upload)| xml::text(upload, "Key")).collect())
    }

    /// Sends SIGKILL to the server and the adapter, and waits until they have ended.
    ///
    /// # Errors
    /// If other tests share the server.
    pub async fn kill(&self) -> Result<(), Error> {
        self.server.kill().await?;
        self.adapter.kill().await
    }

    /// Starts both again, with the same ports and data, and waits until they are ready. Before that, deletes the files of
    /// puts that the kill interrupted: the server itself keeps them, and then answers 404 to every listing of the bucket.
    ///
    /// # Errors
    /// If other tests share the server, or if it is running.
    pub async fn start(&self) -> Result<(), Error> {
        if let Some(dir) = self.data_dir() {
            remove_interrupted_puts(&dir)?;
        }
        self.server.start().await?;
        self.adapter.start().await
    }

    /// Ends the server, deletes its data, and waits for both. Dropping the value does the same without waiting.
    ///
    /// # Errors
    /// If a process cannot be waited for.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.adapter.supervisor.shutdown().await?;
        self.server.shutdown().await
    }

    /// Finds the server that is shared by both conditions.
    async fn find_or_launch(conditions: Conditions) -> Result<FakeGcs, Error> {
        static SERVER: OnceCell<(Server, SocketAddr, String)> = OnceCell::const_new();
        let (_, address, bucket) = SERVER
            .get_or_try_init(|| async {
                if let Some(url) = source::url_from_env(URL_VARIABLE)? {
                    return from_url(&url).await;
                }
                let process = launch_server().await?;
                let address = process.address;
                let server = Server { host: ServerHost::Process(process), shared: true };
                Ok((server, address, BUCKET.to_owned()))
            })
            .await?;
        // The static value owns the process.
        let server = Server { host: ServerHost::External, shared: true };
        FakeGcs::behind_adapter(server, *address, bucket.clone(), conditions).await
    }

    async fn behind_adapter(
        server: Server,
        server_address: SocketAddr,
        bucket: String,
        conditions: Conditions,
    ) -> Result<FakeGcs, Error> {
        own_program::build_if_missing(ADAPTER).await?;
        let program = own_program::find(ADAPTER)?;
        let adapter = prepare().await?.launch(|process| {
            let address = process.address.to_string();
            Ok(vec![program.clone(), address, server_address.to_string(), conditions.name().to_owned()])
        });
        let service_account = ServiceAccount::generate()?;
        Ok(FakeGcs { server, server_address, adapter: adapter.await?, bucket, conditions, service_account })
    }
}

/// Finds the binary in the wheel.
fn find_program() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os(BIN_VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        let error = || format!("{BIN_VARIABLE}={} is not a file", path.display());
        return if path.is_file() { Ok(path) } else { Err(error().into()) };
    }
    let built =
        programs::tools_dir().map(|tools| tools.join(format!("fake-gcs-{VERSION}/bin/fake-gcs-server")));
    built.filter(|file| file.is_file()).ok_or_else(|| {
        format!(
            "fake-gcs-server is not installed: run `tests/images/build --only tools`, or name a binary in \
             {BIN_VARIABLE} or a running server in {URL_VARIABLE}"
        )
        .into()
    })
}

/// Prepares a process without starting it.
async fn prepare() -> Result<ServerProcess, Error> {
    let shutdown = ShutdownOptions { signal: "TERM", cleanup_script: String::new(), environment: Vec::new() };
    Ok(ServerProcess {
        supervisor: Supervisor::new(None, shutdown).await?,
        arguments: Vec::new(),
        address: ports::find_free()?,
        protocol: Protocol::Http,
    })
}

async fn launch_server() -> Result<ServerProcess, Error> {
    let program = find_program()?.to_string_lossy().into_owned();
    let process = prepare().await?.launch(|process| {
        let dir = process.supervisor.dir();
        let root = dir.join(ROOT).to_string_lossy().into_owned();
        // The server writes an object to a file there before it renames the file. After a kill, the file stays.
        let temp_dir = format!("TMPDIR={}", dir.display());
        let (host, port) = (process.address.ip().to_string(), process.address.port().to_string());
        let arguments =
            ["-backend", "filesystem", "-filesystem-root", &root, "-scheme", "http", "-host", &host];
        let address = process.address.to_string();
        let more = ["-port", &port, "-public-host", &address, "-log-level", "warn"];
        let arguments = arguments.into_iter().chain(more).map(str::to_owned);
        Ok(["env".to_owned(), temp_dir, program.clone()].into_iter().chain(arguments).collect())
    });
    let process = process.await?;
    create_bucket(process.address, BUCKET).await?;
    Ok(process)
}

/// Deletes the files of puts that were interrupted:
///
/// - files that the server creates beside an object before it renames another file over them. Their names are a dot, the
///   last component of the object's name, and random digits. No test has an object with such a name.
/// - objects without attributes, because the server sets them after the rename.
fn remove_interrupted_puts(dir: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            remove_interrupted_puts(&entry.path())?;
        } else {
            let is_temporary = name.starts_with('.') && name.ends_with(|last: char| last.is_ascii_digit());
            let attributes = rustix::fs::getxattr(entry.path(), ATTRIBUTES, &mut [0_u8; 0][..]);
            if is_temporary || attributes == Err(rustix::io::Errno::NODATA) {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Uses a server that is already running.
async fn from_url(url: &str) -> Result<(Server, SocketAddr, String), Error> {
    let parts = ServerUrl::parse(URL_VARIABLE, &url.replacen("://", "://none@", 1), "http", 80)?;
    let named = |error: Error| format!("{URL_VARIABLE}: {error}");
    let address = parts.resolve().await.map_err(named)?;
    Protocol::Http.probe(address).await.map_err(named)?;
    create_bucket(address, &parts.name).await.map_err(named)?;
    Ok((Server { host: ServerHost::External, shared: true }, address, parts.name))
}

/// Creates a bucket, unless it exists.
async fn create_bucket(address: SocketAddr, name: &str) -> Result<(), Error> {
    let api = JsonApi::new(address, Conditions::Honoured);
    let json: &[(&str, &[u8])] = &[("content-type", b"application/json")];
    let body = full(json!({ "name": name }).to_string());
    let response: Response<_> = api.send(Method::POST, "/storage/v1/b?project=tests", json, body).await?;
    let status = response.status();
    if status.is_success() || status == StatusCode::CONFLICT {
        return Ok(());
    }
    let text = response.into_body().collect().await?.to_bytes();
    Err(format!("fake-gcs-server cannot create the bucket {name}: {}", String::from_utf8_lossy(&text)).into())
}
