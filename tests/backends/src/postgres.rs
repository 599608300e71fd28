//! PostgreSQL.

use std::net::SocketAddr;
use std::path::Path;

use tokio::sync::OnceCell;

use crate::address::Address;
use crate::docker::{Container, Service};
use crate::process::Process;
use crate::ready::Protocol;
use crate::server::{Place, Server};
use crate::supervisor::{Ending, Supervisor};
use crate::{Error, Via, ports, programs, route};

const VARIABLE: &str = "ARTIFACT_STORE_TEST_POSTGRES_URL";
const USER: &str = "artifact";
const PASSWORD: &str = "secret";
const DATABASE: &str = "artifacts";
/// A path to a socket must fit into 107 bytes.
const LONGEST_SOCKET_FOLDER: usize = 80;
/// What a killed server leaves outside its folder: the shared memory that its lock file names.
const REMOVE_SHARED_MEMORY: &str = r#"set -- $(sed -n 7p data/postmaster.pid); [ -z "$2" ] || ipcrm -m "$2""#;

/// A PostgreSQL server with an empty database, and a role that is superuser.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    address: SocketAddr,
    url: String,
}

impl Postgres {
    /// The server that all tests of this process use.
    pub async fn shared() -> Result<&'static Postgres, Error> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Postgres::find).await
    }

    /// A server of the caller's own, which may be killed; it is gone with this value.
    pub async fn own() -> Result<Postgres, Error> {
        let via = route::choose_own(Service::Postgres, &programs::postgres()).await?;
        Postgres::start_by(via).await
    }

    /// A server of the caller's own, started as said, or else by Docker, if it can, or as a process.
    pub async fn via(via: Option<Via>) -> Result<Postgres, Error> {
        let via = route::choose(Service::Postgres, via).await?;
        Postgres::start_by(via).await
    }

    /// `postgres://user:password@host:port/database`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGKILL to the whole server; returns when no process of it is left.
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

    async fn start_by(via: Via) -> Result<Postgres, Error> {
        match via {
            Via::Docker => Postgres::container().await,
            Via::Local => Postgres::process(&programs::postgres()?).await,
        }
    }

    async fn find() -> Result<Postgres, Error> {
        if let Some(url) = route::given(VARIABLE)? {
            return Postgres::given(url).await;
        }
        let mut found = Postgres::via(None).await?;
        found.server.shared = true;
        Ok(found)
    }

    async fn given(url: String) -> Result<Postgres, Error> {
        let scheme = if url.starts_with("postgresql:") { "postgresql" } else { "postgres" };
        let parts = Address::parse(VARIABLE, &url, scheme, 5432)?;
        let address = parts.resolve().await.map_err(|error| format!("{VARIABLE}: {error}"))?;
        let protocol = Protocol::Postgres { user: parts.user, database: parts.name };
        protocol.ask(address).await.map_err(|error| format!("{VARIABLE}: {error}"))?;
        Ok(Postgres { server: Server { place: Place::Given, shared: true }, address, url })
    }

    async fn container() -> Result<Postgres, Error> {
        let container = Container::up(Service::Postgres, protocol()).await?;
        let address = container.address();
        Ok(Postgres::at(address, Place::Container(container)))
    }

    async fn process(bin: &Path) -> Result<Postgres, Error> {
        let ending =
            Ending { signal: "QUIT", finally: REMOVE_SHARED_MEMORY.to_owned(), environment: Vec::new() };
        let supervisor = Supervisor::new(programs::unprivileged()?, ending).await?;
        initialise(bin, &supervisor).await?;
        let folder = supervisor.folder().to_string_lossy().into_owned();
        let mut process =
            Process { supervisor, arguments: Vec::new(), address: ports::free()?, protocol: protocol() };
        process.arguments = arguments(bin, &folder, process.address);
        let mut clashes = 0;
        while let Err(error) = process.start().await {
            clashes += 1;
            if clashes == 3 || process.supervisor.alive().await? {
                return Err(error);
            }
            process.address = ports::free()?;
            process.arguments = arguments(bin, &folder, process.address);
        }
        let address = process.address;
        Ok(Postgres::at(address, Place::Process(process)))
    }

    fn at(address: SocketAddr, place: Place) -> Postgres {
        let url = format!("postgres://{USER}:{PASSWORD}@{address}/{DATABASE}");
        Postgres { server: Server { place, shared: false }, address, url }
    }
}

fn protocol() -> Protocol {
    Protocol::Postgres { user: USER.to_owned(), database: DATABASE.to_owned() }
}

/// Makes the cluster and the database. Only this is not synced: the server itself syncs as in production.
async fn initialise(bin: &Path, supervisor: &Supervisor) -> Result<(), Error> {
    let program = |name: &str| bin.join(name).to_string_lossy().into_owned();
    std::fs::write(supervisor.folder().join("password"), PASSWORD)?;
    let initdb = program("initdb");
    let options = "-D data -U artifact --pwfile=password -A scram-sha-256 -E UTF8 --locale=C --no-sync";
    supervisor.run(std::iter::once(initdb).chain(options.split(' ').map(str::to_owned)).collect()).await?;
    let create = format!("echo 'CREATE DATABASE {DATABASE}' | \"$0\" --single -F -D data postgres");
    supervisor.run(vec!["sh".to_owned(), "-c".to_owned(), create, program("postgres")]).await
}

fn arguments(bin: &Path, folder: &str, address: SocketAddr) -> Vec<String> {
    let sockets = if folder.len() > LONGEST_SOCKET_FOLDER { "" } else { folder };
    let mut arguments = vec![bin.join("postgres").to_string_lossy().into_owned()];
    arguments.extend(["-D".to_owned(), format!("{folder}/data")]);
    for setting in [
        format!("listen_addresses={}", address.ip()),
        format!("port={}", address.port()),
        format!("unix_socket_directories={sockets}"),
        "max_connections=200".to_owned(),
        // Files in its folder, which goes, instead of /dev/shm, where a killed server would leave them.
        "dynamic_shared_memory_type=mmap".to_owned(),
    ] {
        arguments.extend(["-c".to_owned(), setting]);
    }
    // After a kill, one call instead of one for each of a thousand files: seconds, on a busy disk.
    if cfg!(target_os = "linux") && programs::postgres_version(bin) >= 14 {
        arguments.extend(["-c".to_owned(), "recovery_init_sync_method=syncfs".to_owned()]);
    }
    arguments
}
