//! PostgreSQL, as a local process, a container or an external server.

use std::net::SocketAddr;
use std::path::Path;

use tokio::sync::OnceCell;

use crate::docker::{Container, Service};
use crate::process::ServerProcess;
use crate::readiness::Protocol;
use crate::server::{Server, ServerHost};
use crate::server_url::ServerUrl;
use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, LaunchMethod, ports, programs, source};

const VARIABLE: &str = "ARTIFACT_STORE_TEST_POSTGRES_URL";
const USER: &str = "artifact";
const PASSWORD: &str = "secret";
const DATABASE: &str = "artifacts";
/// The path of a Unix socket is limited to 107 bytes.
const MAX_SOCKET_DIR_BYTES: usize = 80;
/// Deletes what a killed server leaves outside of its directory: the shared memory segment named in its lock file.
const REMOVE_SHARED_MEMORY: &str = r#"set -- $(sed -n 7p data/postmaster.pid); [ -z "$2" ] || ipcrm -m "$2""#;

/// A PostgreSQL server with an empty database and a superuser role.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    address: SocketAddr,
    url: String,
}

impl Postgres {
    /// Returns the server that all tests of this process share.
    pub async fn shared() -> Result<&'static Postgres, Error> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Postgres::find_or_launch).await
    }

    /// Starts a server for this caller only, so the caller may kill it. It ends when this value is dropped.
    pub async fn dedicated() -> Result<Postgres, Error> {
        let method = source::choose_for_dedicated(Service::Postgres, &programs::postgres_dir()).await?;
        Postgres::launch_by(method).await
    }

    /// Starts a server for this caller only, with `method`. If `method` is `None`, uses Docker if available, else a
    /// local process.
    pub async fn launch(method: Option<LaunchMethod>) -> Result<Postgres, Error> {
        let method = source::choose(Service::Postgres, method).await?;
        Postgres::launch_by(method).await
    }

    /// `postgres://user:password@host:port/database`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends SIGKILL to all processes of the server, and waits until they have ended.
    pub async fn kill(&self) -> Result<(), Error> {
        self.server.kill().await
    }

    /// Starts the server again, with the same port and data, and waits until it is ready.
    pub async fn start(&self) -> Result<(), Error> {
        self.server.start().await
    }

    /// Ends the server, deletes its data, and waits for both. Dropping the value does the same without waiting.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.server.shutdown().await
    }

    async fn launch_by(method: LaunchMethod) -> Result<Postgres, Error> {
        match method {
            LaunchMethod::Docker => Postgres::launch_container().await,
            LaunchMethod::Local => Postgres::launch_process(&programs::postgres_dir()?).await,
        }
    }

    async fn find_or_launch() -> Result<Postgres, Error> {
        if let Some(url) = source::url_from_env(VARIABLE)? {
            return Postgres::from_url(url).await;
        }
        let mut found = Postgres::launch(None).await?;
        found.server.shared = true;
        Ok(found)
    }

    async fn from_url(url: String) -> Result<Postgres, Error> {
        let scheme = if url.starts_with("postgresql:") { "postgresql" } else { "postgres" };
        let parts = ServerUrl::parse(VARIABLE, &url, scheme, 5432)?;
        let address = parts.resolve().await.map_err(|error| format!("{VARIABLE}: {error}"))?;
        let protocol = Protocol::Postgres { user: parts.user, database: parts.name };
        protocol.probe(address).await.map_err(|error| format!("{VARIABLE}: {error}"))?;
        Ok(Postgres { server: Server { host: ServerHost::External, shared: true }, address, url })
    }

    async fn launch_container() -> Result<Postgres, Error> {
        let container = Container::up(Service::Postgres).await?;
        let address = container.address();
        Ok(Postgres::new(address, ServerHost::Container(container)))
    }

    async fn launch_process(bin: &Path) -> Result<Postgres, Error> {
        let shutdown = ShutdownOptions {
            signal: "QUIT",
            cleanup_script: REMOVE_SHARED_MEMORY.to_owned(),
            environment: Vec::new(),
        };
        let supervisor = Supervisor::new(programs::unprivileged_user()?, shutdown).await?;
        init_cluster(bin, &supervisor).await?;
        let dir = supervisor.dir().to_string_lossy().into_owned();
        let mut process = ServerProcess {
            supervisor,
            arguments: Vec::new(),
            address: ports::find_free()?,
            protocol: protocol(),
        };
        process.arguments = command_line(bin, &dir, process.address);
        let mut attempts = 0;
        while let Err(error) = process.start().await {
            attempts += 1;
            if attempts == 3 || process.supervisor.is_running().await? {
                return Err(error);
            }
            process.address = ports::find_free()?;
            process.arguments = command_line(bin, &dir, process.address);
        }
        let address = process.address;
        Ok(Postgres::new(address, ServerHost::Process(process)))
    }

    fn new(address: SocketAddr, host: ServerHost) -> Postgres {
        let url = format!("postgres://{USER}:{PASSWORD}@{address}/{DATABASE}");
        Postgres { server: Server { host, shared: false }, address, url }
    }
}

fn protocol() -> Protocol {
    Protocol::Postgres { user: USER.to_owned(), database: DATABASE.to_owned() }
}

/// Creates the cluster and the database. Only this step runs without fsync: the server itself uses
/// fsync, as in production.
async fn init_cluster(bin: &Path, supervisor: &Supervisor) -> Result<(), Error> {
    let program = |name: &str| bin.join(name).to_string_lossy().into_owned();
    std::fs::write(supervisor.dir().join("password"), PASSWORD)?;
    let initdb = program("initdb");
    let options = "-D data -U artifact --pwfile=password -A scram-sha-256 -E UTF8 --locale=C --no-sync";
    supervisor.run(std::iter::once(initdb).chain(options.split(' ').map(str::to_owned)).collect()).await?;
    let create = format!("echo 'CREATE DATABASE {DATABASE}' | \"$0\" --single -F -D data postgres");
    supervisor.run(vec!["sh".to_owned(), "-c".to_owned(), create, program("postgres")]).await
}

fn command_line(bin: &Path, dir: &str, address: SocketAddr) -> Vec<String> {
    let sockets = if dir.len() > MAX_SOCKET_DIR_BYTES { "" } else { dir };
    let mut arguments = vec![bin.join("postgres").to_string_lossy().into_owned()];
    arguments.extend(["-D".to_owned(), format!("{dir}/data")]);
    for setting in [
        format!("listen_addresses={}", address.ip()),
        format!("port={}", address.port()),
        format!("unix_socket_directories={sockets}"),
        "max_connections=200".to_owned(),
        // Files in the server's directory, which is deleted. A killed server would leave files in /dev/shm.
        "dynamic_shared_memory_type=mmap".to_owned(),
    ] {
        arguments.extend(["-c".to_owned(), setting]);
    }
    // After a kill, recovery makes one syncfs call instead of about a thousand fsync calls. This saves seconds on a
    // busy disk.
    if cfg!(target_os = "linux") && programs::postgres_version(bin) >= 14 {
        arguments.extend(["-c".to_owned(), "recovery_init_sync_method=syncfs".to_owned()]);
    }
    arguments
}
