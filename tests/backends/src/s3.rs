//! S3, as two servers that differ where real ones do.

use std::net::SocketAddr;

use tokio::sync::OnceCell;

use crate::address::Address;
use crate::docker::{Container, Service};
use crate::process::Process;
use crate::ready::Protocol;
use crate::server::{Place, Server};
use crate::{Error, Via, garage, ports, route, s3s_fs};

/// The bucket that is there from the start.
pub(crate) const BUCKET: &str = "artifacts";
const DEFAULT_REGION: &str = "us-east-1";

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum S3Kind {
    /// Garage: a store for production, with its own index of objects.
    Garage,
    /// s3s-fs: an S3 face over a folder of files.
    S3sFs,
}

/// What a client signs with, and where.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) bucket: String,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

/// An S3 server with an empty bucket. It checks signatures, and finds buckets by path.
#[derive(Debug)]
pub struct S3 {
    kind: S3Kind,
    server: Server,
    address: SocketAddr,
    endpoint: String,
    login: Login,
}

impl S3 {
    /// The server of this kind that all tests of this process use.
    pub async fn shared(kind: S3Kind) -> Result<&'static S3, Error> {
        static GARAGE: OnceCell<S3> = OnceCell::const_new();
        static S3S_FS: OnceCell<S3> = OnceCell::const_new();
        let cell = match kind {
            S3Kind::Garage => &GARAGE,
            S3Kind::S3sFs => &S3S_FS,
        };
        cell.get_or_try_init(|| S3::find(kind)).await
    }

    /// A server of the caller's own, which may be killed; it is gone with this value.
    pub async fn own(kind: S3Kind) -> Result<S3, Error> {
        let via = match kind {
            S3Kind::Garage => route::choose_own(Service::Garage, &garage::program()).await?,
            S3Kind::S3sFs => Via::Local,
        };
        S3::start_by(kind, via).await
    }

    /// A server of the caller's own, started as said, or else by Docker, if it can, or as a process; s3s-fs is always
    /// a process.
    pub async fn via(kind: S3Kind, via: Option<Via>) -> Result<S3, Error> {
        let via = match kind {
            S3Kind::Garage => route::choose(Service::Garage, via).await?,
            S3Kind::S3sFs => Via::Local,
        };
        S3::start_by(kind, via).await
    }

    /// Which server it is.
    pub fn kind(&self) -> S3Kind {
        self.kind
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bucket that is there from the start; other tests use it, too.
    pub fn bucket(&self) -> &str {
        &self.login.bucket
    }

    /// What requests are signed for.
    pub fn region(&self) -> &str {
        &self.login.region
    }

    /// The name of the key.
    pub fn access_key_id(&self) -> &str {
        &self.login.access_key_id
    }

    /// The key: a test credential, which opens nothing else.
    pub fn secret_access_key(&self) -> &str {
        &self.login.secret_access_key
    }

    /// All of it as one URL: `http://key:secret@host:port/bucket?region=R`.
    pub fn url(&self) -> String {
        let Login { bucket, region, access_key_id, secret_access_key } = &self.login;
        format!("http://{access_key_id}:{secret_access_key}@{}/{bucket}?region={region}", self.address)
    }

    /// SIGKILL to the server; returns when it is gone.
    pub async fn kill(&self) -> Result<(), Error> {
        self.server.kill().await
    }

    /// Starts it again, at the same port and with the same data; returns when it answers.
    pub async fn start(&self) -> Result<(), Error> {
        self.server.start().await
    }

    /// Ends it, and returns when it is gone with all it had. Dropping it does the same without waiting.
    pub async fn end(self) -> Result<(), Error> {
        self.server.end().await
    }

    async fn start_by(kind: S3Kind, via: Via) -> Result<S3, Error> {
        match (kind, via) {
            (S3Kind::S3sFs, _) => S3::s3s_fs().await,
            (S3Kind::Garage, Via::Local) => S3::garage().await,
            (S3Kind::Garage, Via::Docker) => S3::garage_container().await,
        }
    }

    async fn find(kind: S3Kind) -> Result<S3, Error> {
        let variable = match kind {
            S3Kind::Garage => "ARTIFACT_STORE_TEST_GARAGE_URL",
            S3Kind::S3sFs => "ARTIFACT_STORE_TEST_S3S_FS_URL",
        };
        if let Some(url) = route::given(variable)? {
            return S3::given(kind, variable, &url).await;
        }
        let mut found = S3::via(kind, None).await?;
        found.server.shared = true;
        Ok(found)
    }

    async fn given(kind: S3Kind, variable: &str, url: &str) -> Result<S3, Error> {
        let parts = Address::parse(variable, url, "http", 80)?;
        let address = parts.resolve().await.map_err(|error| format!("{variable}: {error}"))?;
        Protocol::Http.ask(address).await.map_err(|error| format!("{variable}: {error}"))?;
        let region = parts.parameter("region").unwrap_or(DEFAULT_REGION).to_owned();
        let endpoint = format!("http://{}", parts.authority);
        let login = Login {
            bucket: parts.name,
            region,
            access_key_id: parts.user,
            secret_access_key: parts.password,
        };
        Ok(S3 { kind, server: Server { place: Place::Given, shared: true }, address, endpoint, login })
    }

    async fn s3s_fs() -> Result<S3, Error> {
        S3::process(S3Kind::S3sFs, s3s_fs::process().await?, s3s_fs::arguments, s3s_fs::login()).await
    }

    async fn garage() -> Result<S3, Error> {
        S3::process(S3Kind::Garage, garage::process().await?, garage::arguments, garage::login()).await
    }

    async fn garage_container() -> Result<S3, Error> {
        let container = Container::up(Service::Garage, Protocol::Http).await?;
        Ok(S3::at(S3Kind::Garage, container.address(), Place::Container(container), garage::login()))
    }

    /// Starts `process`; a port that was taken meanwhile is exchanged for another one.
    async fn process(
        kind: S3Kind,
        mut process: Process,
        arguments: fn(&Process) -> Result<Vec<String>, Error>,
        login: Login,
    ) -> Result<S3, Error> {
        let mut clashes = 0;
        loop {
            process.address = ports::free()?;
            process.arguments = arguments(&process)?;
            let Err(error) = process.start().await else { break };
            clashes += 1;
            if clashes == 3 || process.supervisor.alive().await? {
                return Err(error);
            }
        }
        Ok(S3::at(kind, process.address, Place::Process(process), login))
    }

    fn at(kind: S3Kind, address: SocketAddr, place: Place, login: Login) -> S3 {
        S3 {
            kind,
            server: Server { place, shared: false },
            address,
            endpoint: format!("http://{address}"),
            login,
        }
    }
}
