//! S3: three servers, which differ in the same ways as real ones.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::OnceCell;

use crate::docker::{Container, Service};
use crate::process::ServerProcess;
use crate::readiness::Protocol;
use crate::server::{Server, ServerHost};
use crate::server_url::ServerUrl;
use crate::{Error, LaunchMethod, garage, moto, s3s_fs, source};

/// The bucket that every server has from the start.
pub(crate) const BUCKET: &str = "artifacts";
const DEFAULT_REGION: &str = "us-east-1";

/// The S3 server implementations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum S3Kind {
    /// Garage: an object store for production, with its own index of objects.
    Garage,
    /// s3s-fs: an S3 API over a directory of files.
    S3sFs,
    /// moto: behaves like AWS, with users and policies, versions and object lock. It keeps everything in memory.
    Moto,
}

/// The kind of an additional bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BucketKind {
    /// Without versions or locks.
    Plain,
    /// Overwritten and deleted objects are kept as versions.
    Versioned,
    /// Versioned, and no version can be deleted before the retention period ends.
    ObjectLock {
        /// The retention mode.
        mode: LockMode,
        /// The bucket's default retention period, in days.
        days: u32,
    },
}

/// The retention mode of an object lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockMode {
    /// Users with a special permission can end the lock early.
    Governance,
    /// Nobody can end the lock early.
    Compliance,
}

/// The access key of a user. It is a credential for tests only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessKey {
    /// The key's id.
    pub access_key_id: String,
    /// The secret that signs requests.
    pub secret_access_key: String,
}

/// A bucket with its region and the access key for it.
#[derive(Debug, Clone)]
pub(crate) struct BucketCredentials {
    pub(crate) bucket: String,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

/// An S3 server with an empty bucket. It verifies signatures and uses path-style addresses.
#[derive(Debug)]
pub struct S3 {
    kind: S3Kind,
    server: Server,
    address: SocketAddr,
    endpoint: String,
    credentials: BucketCredentials,
}

impl S3 {
    /// Returns the server of this kind that all tests of this process share.
    pub async fn shared(kind: S3Kind) -> Result<&'static S3, Error> {
        static GARAGE: OnceCell<S3> = OnceCell::const_new();
        static S3S_FS: OnceCell<S3> = OnceCell::const_new();
        static MOTO: OnceCell<S3> = OnceCell::const_new();
        let cell = match kind {
            S3Kind::Garage => &GARAGE,
            S3Kind::S3sFs => &S3S_FS,
            S3Kind::Moto => &MOTO,
        };
        cell.get_or_try_init(|| S3::find_or_launch(kind)).await
    }

    /// Starts a server for this caller only, so the caller may kill it. It ends when this value is dropped.
    pub async fn dedicated(kind: S3Kind) -> Result<S3, Error> {
        let method = match kind {
            S3Kind::Garage => source::choose_for_dedicated(Service::Garage, &garage::find_program()).await?,
            S3Kind::S3sFs | S3Kind::Moto => LaunchMethod::Local,
        };
        S3::launch_by(kind, method).await
    }

    /// Starts a server for this caller only, with `method`. If `method` is `None`, uses Docker if available, else a
    /// local process. s3s-fs and moto are always local processes.
    pub async fn launch(kind: S3Kind, method: Option<LaunchMethod>) -> Result<S3, Error> {
        let method = match kind {
            S3Kind::Garage => source::choose(Service::Garage, method).await?,
            S3Kind::S3sFs | S3Kind::Moto => LaunchMethod::Local,
        };
        S3::launch_by(kind, method).await
    }

    /// The kind of the server.
    pub fn kind(&self) -> S3Kind {
        self.kind
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bucket that exists from the start. Other tests may use it too.
    pub fn bucket(&self) -> &str {
        &self.credentials.bucket
    }

    /// The region for signatures.
    pub fn region(&self) -> &str {
        &self.credentials.region
    }

    /// The id of the access key.
    pub fn access_key_id(&self) -> &str {
        &self.credentials.access_key_id
    }

    /// The secret of the access key. It is a credential for tests only.
    pub fn secret_access_key(&self) -> &str {
        &self.credentials.secret_access_key
    }

    /// Address, access key, bucket and region as one URL: `http://key:secret@host:port/bucket?region=R`.
    pub fn url(&self) -> String {
        let BucketCredentials { bucket, region, access_key_id, secret_access_key } = &self.credentials;
        format!("http://{access_key_id}:{secret_access_key}@{}/{bucket}?region={region}", self.address)
    }

    /// Sends SIGKILL to the server and waits until it has ended.
    pub async fn kill(&self) -> Result<(), Error> {
        self.server.kill().await
    }

    /// Starts the server again, with the same port and data, and waits until it is ready. moto has lost its data and
    /// has only an empty bucket.
    pub async fn start(&self) -> Result<(), Error> {
        self.server.start().await
    }

    /// Creates a user with only the permissions of an IAM policy, given as JSON. Returns the user's access key. Only
    /// moto supports this.
    pub async fn create_user(&self, policy: &str) -> Result<AccessKey, Error> {
        self.require_moto("users with policies")?;
        let printed =
            moto::run_tool("user", &self.endpoint, &self.credentials, [&unique_name(), policy]).await?;
        let (id, secret) = printed.split_once(' ').ok_or("moto returned no access key")?;
        Ok(AccessKey { access_key_id: id.to_owned(), secret_access_key: secret.to_owned() })
    }

    /// Creates an empty bucket and returns its name. Only moto supports this.
    pub async fn create_bucket(&self, kind: BucketKind) -> Result<String, Error> {
        self.require_moto("buckets of every kind")?;
        let kind = match kind {
            BucketKind::Plain => "plain".to_owned(),
            BucketKind::Versioned => "versioned".to_owned(),
            BucketKind::ObjectLock { mode: LockMode::Governance, days } => format!("GOVERNANCE:{days}"),
            BucketKind::ObjectLock { mode: LockMode::Compliance, days } => format!("COMPLIANCE:{days}"),
        };
        let name = unique_name();
        moto::run_tool("bucket", &self.endpoint, &self.credentials, [&name, &kind]).await?;
        Ok(name)
    }

    fn require_moto(&self, what: &str) -> Result<(), Error> {
        if self.kind == S3Kind::Moto { Ok(()) } else { Err(format!("{:?} has no {what}", self.kind).into()) }
    }

    /// Ends the server, deletes its data, and waits for both. Dropping the value does the same without waiting.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.server.shutdown().await
    }

    async fn launch_by(kind: S3Kind, method: LaunchMethod) -> Result<S3, Error> {
        match (kind, method) {
            (S3Kind::S3sFs, _) => S3::launch_s3s_fs().await,
            (S3Kind::Moto, _) => {
                S3::launch_process(
                    S3Kind::Moto,
                    moto::prepare().await?,
                    moto::command_line,
                    moto::credentials(),
                )
                .await
            }
            (S3Kind::Garage, LaunchMethod::Local) => S3::launch_garage().await,
            (S3Kind::Garage, LaunchMethod::Docker) => S3::launch_garage_container().await,
        }
    }

    async fn find_or_launch(kind: S3Kind) -> Result<S3, Error> {
        let variable = match kind {
            S3Kind::Garage => "ARTIFACT_STORE_TEST_GARAGE_URL",
            S3Kind::S3sFs => "ARTIFACT_STORE_TEST_S3S_FS_URL",
            S3Kind::Moto => "ARTIFACT_STORE_TEST_MOTO_URL",
        };
        if let Some(url) = source::url_from_env(variable)? {
            return S3::from_url(kind, variable, &url).await;
        }
        let mut found = S3::launch(kind, None).await?;
        found.server.shared = true;
        Ok(found)
    }

    async fn from_url(kind: S3Kind, variable: &str, url: &str) -> Result<S3, Error> {
        let parts = ServerUrl::parse(variable, url, "http", 80)?;
        let address = parts.resolve().await.map_err(|error| format!("{variable}: {error}"))?;
        Protocol::Http.probe(address).await.map_err(|error| format!("{variable}: {error}"))?;
        let region = parts.parameter("region").unwrap_or(DEFAULT_REGION).to_owned();
        let endpoint = format!("http://{}", parts.authority);
        let credentials = BucketCredentials {
            bucket: parts.name,
            region,
            access_key_id: parts.user,
            secret_access_key: parts.password,
        };
        Ok(S3 {
            kind,
            server: Server { host: ServerHost::External, shared: true },
            address,
            endpoint,
            credentials,
        })
    }

    async fn launch_s3s_fs() -> Result<S3, Error> {
        S3::launch_process(
            S3Kind::S3sFs,
            s3s_fs::prepare().await?,
            s3s_fs::command_line,
            s3s_fs::credentials(),
        )
        .await
    }

    async fn launch_garage() -> Result<S3, Error> {
        S3::launch_process(
            S3Kind::Garage,
            garage::prepare().await?,
            garage::command_line,
            garage::credentials(),
        )
        .await
    }

    async fn launch_garage_container() -> Result<S3, Error> {
        let container = Container::up(Service::Garage).await?;
        Ok(S3::new(
            S3Kind::Garage,
            container.address(),
            ServerHost::Container(container),
            garage::credentials(),
        ))
    }

    /// Starts `process`.
    async fn launch_process(
        kind: S3Kind,
        process: ServerProcess,
        command_line: fn(&ServerProcess) -> Result<Vec<String>, Error>,
        credentials: BucketCredentials,
    ) -> Result<S3, Error> {
        let process = process.launch(command_line).await?;
        Ok(S3::new(kind, process.address, ServerHost::Process(process), credentials))
    }

    fn new(kind: S3Kind, address: SocketAddr, host: ServerHost, credentials: BucketCredentials) -> S3 {
        S3 {
            kind,
            server: Server { host, shared: false },
            address,
            endpoint: format!("http://{address}"),
            credentials,
        }
    }
}

/// A unique name for a user or a bucket.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("t{:x}-{:x}", since.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}
