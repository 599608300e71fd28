//! The real program as a child process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::{artifactd_path, signing_key};
use super::request::{Request, control};
use super::response::Response;
use super::tokens::Identity;
use crate::flavour::{Flavour, ServerBackend, flavours};

/// How long the program may take to start or to exit.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(30);

/// The configuration of a server besides its driver, by section and key, and its environment variables.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    file: BTreeMap<String, BTreeMap<String, Value>>,
    environment: Vec<(String, String)>,
}

impl ServerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `section.key` in the file.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (section, key) = key.split_once('.').expect("a key has a section");
        self.file.entry(section.into()).or_default().insert(key.into(), value.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The content of the file. Every JSON scalar is a YAML scalar.
    pub fn yaml(&self) -> String {
        let mut yaml = String::new();
        for (section, keys) in &self.file {
            yaml.extend([section, ":\n"]);
            for (key, value) in keys {
                yaml.extend(["  ", key, ": ", &value.to_string(), "\n"]);
            }
        }
        yaml
    }

    /// The command that serves with these options, from a file in `folder`.
    pub fn command(&self, folder: &Path) -> Command {
        let file = folder.join("artifactd.yaml");
        fs::write(&file, self.yaml()).unwrap();
        let mut command = Command::new(artifactd_path());
        command.arg("serve").arg("--config").arg(file).env_remove("RUST_LOG");
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }
}

/// A server process. Dropping the value kills it.
#[derive(Debug)]
pub struct Server {
    flavour: Flavour,
    /// The storage on a real server, if the driver has one.
    backend: Option<ServerBackend>,
    options: ServerOptions,
    folder: TempDir,
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// Starts a server with the driver of this flavour, on an empty store and a free port.
    pub fn start(flavour: Flavour, options: &ServerOptions) -> Self {
        Self::start_on(flavour, ServerBackend::create(flavour), options)
    }

    /// Starts a second server on the same store. The flavour must let several processes share one.
    #[must_use]
    pub fn start_replica(&self) -> Self {
        self.start_replica_with(&[])
    }

    /// The same with other values for some configuration keys.
    #[must_use]
    pub fn start_replica_with(&self, changed: &[(&str, Value)]) -> Self {
        let backend = self.backend.as_ref().expect("the flavour has a storage server").clone();
        let mut options = self.options.clone();
        options.file.entry("server".into()).or_default().insert("bind_addr".into(), json!("127.0.0.1:0"));
        for (key, value) in changed {
            let (section, key) = key.split_once('.').unwrap();
            options.file.entry(section.into()).or_default().insert(key.into(), value.clone());
        }
        Self::start_on(self.flavour, Some(backend), &options)
    }

    fn start_on(flavour: Flavour, backend: Option<ServerBackend>, options: &ServerOptions) -> Self {
        let folder = TempDir::new().unwrap();
        let mut options = options.clone();
        let uses_jwks_url = options.file.get("identity").is_some_and(|keys| keys.contains_key("jwks_url"));
        let mut set_default = |key: &str, value: Value| {
            let (section, key) = key.split_once('.').unwrap();
            options.file.entry(section.into()).or_default().entry(key.into()).or_insert(value);
        };
        set_default("server.bind_addr", json!("127.0.0.1:0"));
        if !uses_jwks_url {
            set_default("identity.jwks_file", json!(signing_key().jwks()));
        }
        set_default("artifacts.driver", json!(flavour.driver()));
        match flavour {
            Flavour::Fs => set_default("artifacts.fs_root", json!(folder.path().join("data"))),
            Flavour::Sqlite => set_default("artifacts.dsn", json!(folder.path().join("data.db"))),
            // The others have a backend, or no place.
            _ => {}
        }
        for (key, value) in backend.iter().flat_map(ServerBackend::config_keys) {
            set_default(&key, value);
        }
        if let Some(backend) = &backend {
            for (option, value) in backend.driver_options() {
                let section = options.file.entry("artifacts".into()).or_default();
                let given = section.entry("options".into()).or_insert_with(|| json!({}));
                given[option] = value;
            }
        }
        let (child, addr) = launch(&options, folder.path());
        Self { flavour, backend, options, folder, child, addr }
    }

    /// The flavour.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The storage on a real server, if the driver has one.
    pub fn backend(&self) -> Option<&ServerBackend> {
        self.backend.as_ref()
    }

    /// The driver's name.
    pub fn driver(&self) -> &'static str {
        self.flavour.driver()
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The URL of its store. The driver must keep its data outside the process.
    pub fn url(&self) -> String {
        match &self.backend {
            Some(backend) => backend.url(),
            None => format!("{}:{}", self.driver(), self.data().display()),
        }
    }

    /// What its raw storage holds that belongs to no visible artifact, one line each. Empty if the driver keeps its
    /// data in the process.
    pub fn residue(&self) -> Vec<String> {
        let found = match (&self.backend, self.flavour) {
            (Some(backend), _) => backend.residue_blocking(),
            (None, Flavour::Inmem) => Ok(Vec::new()),
            (None, _) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(crate::matrix_rows::residue(&self.url()))
            }
        };
        found.unwrap()
    }

    /// The path of its data on the local disk.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join(if self.flavour == Flavour::Sqlite { "data.db" } else { "data" })
    }

    /// Its log since the first start. If it responds, the log is complete up to now.
    pub fn log(&self) -> String {
        let written =
            || String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap()).into_owned();
        // The log is written asynchronously. When the line of the probe is there, all earlier lines are there too.
        let Some(id) = probe_health(self.addr) else { return written() };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) && !written().contains(&id) {
            std::thread::sleep(Duration::from_millis(2));
        }
        written()
    }

    /// Sets `section.key` in its file. The server reads the file again on SIGHUP.
    pub fn reconfigure(&mut self, key: &str, value: impl Into<Value>) {
        self.options = std::mem::take(&mut self.options).set(key, value);
        self.write_configuration(&self.options.yaml());
    }

    /// Replaces the content of its file.
    pub fn write_configuration(&self, yaml: &str) {
        fs::write(self.folder.path().join("artifactd.yaml"), yaml).unwrap();
    }

    /// Calls a method.
    pub fn call(&self, identity: &Identity, method: &str, body: &Value) -> Response {
        control(method, body).identity(identity).send(self)
    }

    /// Stores bytes and returns their ref.
    pub fn store(&self, identity: &Identity, bytes: &[u8], opts: &Value) -> Value {
        let body = json!({"bytes": super::base64(bytes), "opts": opts});
        self.call(identity, "artifacts.put", &body).expect_json(200)["ref"].clone()
    }

    /// Stores bytes and returns their id.
    pub fn store_id(&self, identity: &Identity, bytes: &[u8]) -> String {
        self.store(identity, bytes, &json!({}))["id"].as_str().unwrap().to_owned()
    }

    /// Downloads an artifact through the byte plane.
    pub fn download(&self, identity: &Identity, id: &str) -> Response {
        Request::get(format!("/v1/artifacts/{id}")).identity(identity).send(self)
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits for the process to exit.
    pub fn stop(&mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        self.wait()
    }

    /// Waits for the process to exit.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for_exit(&mut self.child)
    }

    /// Starts the program again on the same data.
    pub fn restart(&mut self) {
        self.kill();
        (self.child, self.addr) = launch(&self.options, self.folder.path());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // Nothing that a test sends may cause a panic. A test that has already failed reports its own failure.
        if !std::thread::panicking() {
            // A panic is logged before its request gets a response.
            let log =
                String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap()).into_owned();
            assert!(!log.contains("panicked"), "the server panicked:\n{log}");
        }
    }
}

/// Sends a health request and returns its request id, or `None` if the server does not respond.
fn probe_health(addr: SocketAddr) -> Option<String> {
    let timeout = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&addr, timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let head =
        answer.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| *name == "x-request-id"));
    head.map(|(_, id)| id.to_owned())
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill(1) fails for {pid}");
}

/// Waits for a process, up to [`PROCESS_TIMEOUT`].
fn wait_for_exit(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PROCESS_TIMEOUT {
            let _ = child.kill();
            panic!("the program does not exit");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn launch(options: &ServerOptions, folder: &Path) -> (Child, SocketAddr) {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = options.command(folder).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    // Keeps reading, so that the program never blocks on its output.
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    let first = lines.recv_timeout(PROCESS_TIMEOUT);
    let addr = first.as_deref().ok().and_then(|line| line.strip_prefix("artifactd listens on http://"));
    let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else {
        let _ = child.kill();
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!(
            "the server does not start: first line {first:?}, log\n{log}\nconfiguration\n{}",
            options.yaml()
        );
    };
    (child, addr)
}

/// Runs a test against a fresh server of each flavour.
pub fn for_each_flavour(test: impl Fn(&Server)) {
    for_each_flavour_with(&ServerOptions::new(), test);
}

/// The same with options.
pub fn for_each_flavour_with(options: &ServerOptions, test: impl Fn(&Server)) {
    for flavour in flavours() {
        // If the test fails, its output ends with the flavour.
        println!("on {flavour}");
        test(&Server::start(flavour, options));
    }
}
