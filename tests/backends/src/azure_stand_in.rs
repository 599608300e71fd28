//! The stand-in for Azure Blob Storage as a local process: the program `azure-stand-in` of this crate.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::OnceCell;

use crate::azure::target::Target;
use crate::azure::{self, sas, shared_key};
use crate::http_server::{Body, full};
use crate::process::ServerProcess;
use crate::readiness::Protocol;
use crate::s3::{BUCKET, unique_name};
use crate::server::{Server, ServerHost};
use crate::server_url::ServerUrl;
use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, own_program, ports, source, xml};

const PROGRAM: &str = "azure-stand-in";
const URL_VARIABLE: &str = "ARTIFACT_STORE_TEST_AZURE_STAND_IN_URL";
const ACCOUNT: &str = "artifactstore";
/// 64 bytes in base64, as Azure's keys. It opens nothing else.
const KEY: &str = "YXJ0aWZhY3Qtc3RvcmU6IHRoZSBrZXkgb2YgdGhlIHN0YW5kLWluLCBmb3IgdGVzdHMgYW5kIG5vIG90aGVycw==";

/// A stand-in for Azure Blob Storage with an empty container. It is not Azure: `docs/testing.md` says what it checks and
/// what it leaves out.
#[derive(Debug)]
pub struct AzureStandIn {
    server: Server,
    address: SocketAddr,
    account: String,
    key: String,
    container: String,
}

impl AzureStandIn {
    /// Returns the stand-in that all tests of this process share.
    ///
    /// # Errors
    /// If it cannot be built or does not start.
    pub async fn shared() -> Result<&'static AzureStandIn, Error> {
        static SHARED: OnceCell<AzureStandIn> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                if let Some(url) = source::url_from_env(URL_VARIABLE)? {
                    return AzureStandIn::from_url(&url).await;
                }
                let mut found = AzureStandIn::dedicated().await?;
                found.server.shared = true;
                Ok(found)
            })
            .await
    }

    /// Starts a stand-in for this caller only, so the caller may kill it. It ends when this value is dropped.
    ///
    /// # Errors
    /// As [`shared`](Self::shared).
    pub async fn dedicated() -> Result<AzureStandIn, Error> {
        own_program::build_if_missing(PROGRAM).await?;
        let program = own_program::find(PROGRAM)?;
        let shutdown =
            ShutdownOptions { signal: "TERM", cleanup_script: String::new(), environment: Vec::new() };
        let supervisor = Supervisor::new(None, shutdown).await?;
        let root = supervisor.dir().join("root");
        std::fs::create_dir_all(root.join(BUCKET))?;
        let root = root.to_string_lossy().into_owned();
        let process = ServerProcess {
            supervisor,
            arguments: Vec::new(),
            address: ports::find_free()?,
            protocol: Protocol::Http,
        };
        let process = process.launch(|process| {
            let arguments = [&program, &process.address.to_string(), &root, ACCOUNT, KEY];
            Ok(arguments.into_iter().map(ToString::to_string).collect())
        });
        let process = process.await?;
        Ok(AzureStandIn {
            address: process.address,
            server: Server { host: ServerHost::Process(process), shared: false },
            account: ACCOUNT.to_owned(),
            key: KEY.to_owned(),
            container: BUCKET.to_owned(),
        })
    }

    /// `http://host:port/account`: the endpoint of a client, with the account in the path, as for an emulator.
    pub fn endpoint(&self) -> String {
        format!("http://{}/{}", self.address, self.account)
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name of the account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The key of the account, in base64. It is a credential for tests only.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The container that exists from the start. Other tests may use it too.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Address, account, key and container as one URL, that of `ARTIFACT_STORE_TEST_AZURE_STAND_IN_URL`:
    /// `http://account:key@host:port/container`.
    pub fn url(&self) -> String {
        let key = utf8_percent_encode(&self.key, NON_ALPHANUMERIC);
        format!("http://{}:{key}@{}/{}", self.account, self.address, self.container)
    }

    /// Creates an empty container and returns its name.
    ///
    /// # Errors
    /// If the stand-in refuses.
    pub async fn create_container(&self) -> Result<String, Error> {
        let name = unique_name();
        self.send(Method::PUT, &format!("{name}?restype=container"), StatusCode::CREATED).await?;
        Ok(name)
    }

    /// Deletes a container and all that is in it.
    ///
    /// # Errors
    /// If the stand-in refuses.
    pub async fn delete_container(&self, container: &str) -> Result<(), Error> {
        self.send(Method::DELETE, &format!("{container}?restype=container"), StatusCode::ACCEPTED)
            .await
            .map(drop)
    }

    /// The names of the blobs of a container that have uncommitted blocks. Nothing else shows them.
    ///
    /// # Errors
    /// If the stand-in refuses.
    pub async fn uncommitted_blobs(&self, container: &str) -> Result<Vec<String>, Error> {
        let list = format!("{container}?restype=container&comp=list&include=uncommittedblobs");
        let document = self.send(Method::GET, &list, StatusCode::OK).await?;
        let mut names = Vec::new();
        for (_, blob) in xml::elements(&document, &["Blob"]) {
            let name = xml::text(blob, "Name").ok_or("a blob without a name")?;
            let path = format!("{container}/{}", utf8_percent_encode(&name, NON_ALPHANUMERIC));
            let blocks = self.send(Method::GET, &format!("{path}?comp=blocklist"), StatusCode::OK).await?;
            if blocks.contains("<Block>") {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Signs a service SAS. `parameters` are those of the query, without `sig`; `sr`, `sv`, `sp` and `se` are needed.
    /// `blob` is empty for a container. Returns the URL.
    ///
    /// # Errors
    /// If the key is not base64.
    pub fn sas_url(&self, container: &str, blob: &str, parameters: &[(&str, &str)]) -> Result<String, Error> {
        let mut pairs: Vec<(String, String)> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let signature = sas::sign(&pairs, &self.key, &self.account, container, blob)?;
        pairs.push(("sig".to_owned(), signature));
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let blob: Vec<_> = blob.split('/').map(encode).collect();
        Ok(format!("{}/{container}/{}?{}", self.endpoint(), blob.join("/"), query.join("&")))
    }

    /// Sends SIGKILL to the stand-in and waits until it has ended.
    ///
    /// # Errors
    /// If other tests share it.
    pub async fn kill(&self) -> Result<(), Error> {
        self.server.kill().await
    }

    /// Starts it again, with the same port and data, and waits until it is ready.
    ///
    /// # Errors
    /// If other tests share it, or if it is running.
    pub async fn start(&self) -> Result<(), Error> {
        self.server.start().await
    }

    /// Ends the stand-in, deletes its data, and waits for both. Dropping the value does the same without waiting.
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.server.shutdown().await
    }

    async fn from_url(url: &str) -> Result<AzureStandIn, Error> {
        let parts = ServerUrl::parse(URL_VARIABLE, url, "http", 80)?;
        let named = |error: Error| format!("{URL_VARIABLE}: {error}");
        let address = parts.resolve().await.map_err(named)?;
        Protocol::Http.probe(address).await.map_err(named)?;
        Ok(AzureStandIn {
            server: Server { host: ServerHost::External, shared: true },
            address,
            account: parts.user,
            key: parts.password,
            container: parts.name,
        })
    }

    /// Sends a request without a body, signed with the account's key. Returns the body of the answer.
    async fn send(&self, method: Method, path: &str, expected: StatusCode) -> Result<String, Error> {
        let uri: Uri = format!("{}/{path}", self.endpoint()).parse()?;
        let target = Target::parse(&uri).map_err(|_| "the address is malformed")?;
        let mut headers = HeaderMap::new();
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        headers.insert("x-ms-date", HeaderValue::from_str(&date)?);
        headers.insert("x-ms-version", HeaderValue::from_static(azure::VERSION));
        let text = shared_key::string_to_sign(&method, &self.account, uri.path(), &target.query, &headers);
        let signature = shared_key::sign(&self.key, &text)?;
        let authorization = format!("SharedKey {}:{signature}", self.account);
        headers.insert("authorization", HeaderValue::from_str(&authorization)?);
        let mut request = Request::builder().method(method.clone()).uri(uri).body(full(Bytes::new()))?;
        *request.headers_mut() = headers;
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        if status == expected {
            return Ok(body);
        }
        Err(format!("the stand-in answers {status} to {method} {path}: {body}").into())
    }
}
