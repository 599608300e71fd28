//! The program, started for real.

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

use super::program::{artifactd, keys};
use super::request::{Request, control};
use super::response::Response;
use super::tokens::Who;
use crate::place::{Flavour, Place, flavours};

/// How long the program may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server is configured with beside its driver, by section and key, and in its environment.
#[derive(Debug, Clone, Default)]
pub struct Options {
    file: BTreeMap<String, BTreeMap<String, Value>>,
    environment: Vec<(String, String)>,
}

impl Options {
    /// Nothing beside the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `section.key` in the file.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (section, key) = key.split_once('.').expect("a key has a section");
        self.file.entry(section.into()).or_default().insert(key.into(), value.into());
        self
    }

    /// With a variable in the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The file. Every scalar of JSON is one of YAML.
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

    /// The program with these options in a file of `folder`, ready to serve.
    pub fn command(&self, folder: &Path) -> Command {
        let file = folder.join("artifactd.yaml");
        fs::write(&file, self.yaml()).unwrap();
        let mut command = Command::new(artifactd());
        command.arg("serve").arg("--config").arg(file).env_remove("RUST_LOG");
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }
}

/// A server, which goes with the value.
#[derive(Debug)]
pub struct Server {
    flavour: Flavour,
    /// Where a driver with a server beneath it keeps its data.
    place: Option<Place>,
    options: Options,
    home: TempDir,
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// A server with the driver of this flavour, on an empty store and a free port.
    pub fn start(flavour: Flavour, options: &Options) -> Self {
        Self::start_at(flavour, Place::of(flavour), options)
    }

    /// The same beside this one, on the same store: where its flavour lets several processes share one.
    #[must_use]
    pub fn start_beside(&self) -> Self {
        let place = self.place.as_ref().expect("the flavour has a server beneath it").clone();
        let mut options = self.options.clone();
        options.file.entry("server".into()).or_default().insert("bind_addr".into(), json!("127.0.0.1:0"));
        Self::start_at(self.flavour, Some(place), &options)
    }

    fn start_at(flavour: Flavour, place: Option<Place>, options: &Options) -> Self {
        let home = TempDir::new().unwrap();
        let mut options = options.clone();
        let elsewhere = options.file.get("identity").is_some_and(|keys| keys.contains_key("jwks_url"));
        let mut default = |key: &str, value: Value| {
            let (section, key) = key.split_once('.').unwrap();
            options.file.entry(section.into()).or_default().entry(key.into()).or_insert(value);
        };
        default("server.bind_addr", json!("127.0.0.1:0"));
        if !elsewhere {
            default("identity.jwks_file", json!(keys().jwks()));
        }
        default("artifacts.driver", json!(flavour.driver()));
        match flavour {
            Flavour::Fs => default("artifacts.fs_root", json!(home.path().join("data"))),
            Flavour::Sqlite => default("artifacts.dsn", json!(home.path().join("data.db"))),
            Flavour::Inmem | Flavour::Postgres | Flavour::Garage | Flavour::S3sFs => {}
        }
        for (key, value) in place.iter().flat_map(Place::keys) {
            default(&key, value);
        }
        if let Some(place) = &place {
            for (option, value) in place.options() {
                let section = options.file.entry("artifacts".into()).or_default();
                let given = section.entry("options".into()).or_insert_with(|| json!({}));
                given[option] = value;
            }
        }
        let (child, addr) = launch(&options, home.path());
        Self { flavour, place, options, home, child, addr }
    }

    /// The flavour.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Where a driver with a server beneath it keeps its data.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The driver's name.
    pub fn driver(&self) -> &'static str {
        self.flavour.driver()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its data is, as the URL of a store; the driver keeps it outside of the process.
    pub fn url(&self) -> String {
        match &self.place {
            Some(place) => place.url(),
            None => format!("{}:{}", self.driver(), self.data().display()),
        }
    }

    /// What its raw storage holds that belongs to no visible artifact, one line each. Nothing is known of what a driver keeps in
    /// the process.
    pub fn residue(&self) -> Vec<String> {
        let found = match (&self.place, self.flavour) {
            (Some(place), _) => place.wait_for_residue(),
            (None, Flavour::Inmem) => Ok(Vec::new()),
            (None, _) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(crate::flavours::residue(&self.url()))
            }
        };
        found.unwrap()
    }

    /// Where its data is on this machine's disk.
    pub fn data(&self) -> PathBuf {
        self.home.path().join(if self.flavour == Flavour::Sqlite { "data.db" } else { "data" })
    }

    /// What it has logged in all its lives, up to now where it answers.
    pub fn log(&self) -> String {
        let written =
            || String::from_utf8_lossy(&fs::read(self.home.path().join("log")).unwrap()).into_owned();
        // The log is written behind the answers: what comes before a request's line is there once that is.
        let Some(id) = probe(self.addr) else { return written() };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) && !written().contains(&id) {
            std::thread::sleep(Duration::from_millis(2));
        }
        written()
    }

    /// Sets `section.key` in its file, which it reads when it is told to.
    pub fn reconfigure(&mut self, key: &str, value: impl Into<Value>) {
        self.options = std::mem::take(&mut self.options).set(key, value);
        self.write_configuration(&self.options.yaml());
    }

    /// Puts this in place of its file.
    pub fn write_configuration(&self, yaml: &str) {
        fs::write(self.home.path().join("artifactd.yaml"), yaml).unwrap();
    }

    /// Calls a method.
    pub fn call(&self, who: &Who, method: &str, body: &Value) -> Response {
        control(method, body).by(who).send(self)
    }

    /// Stores bytes and gives back their ref.
    pub fn store(&self, who: &Who, bytes: &[u8], opts: &Value) -> Value {
        let body = json!({"bytes": super::base64(bytes), "opts": opts});
        self.call(who, "artifacts.put", &body).ok(200)["ref"].clone()
    }

    /// Stores bytes and gives back their id.
    pub fn store_id(&self, who: &Who, bytes: &[u8]) -> String {
        self.store(who, bytes, &json!({}))["id"].as_str().unwrap().to_owned()
    }

    /// Reads an artifact through the byte plane.
    pub fn download(&self, who: &Who, id: &str) -> Response {
        Request::get(format!("/v1/artifacts/{id}")).by(who).send(self)
    }

    /// Kills the process at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to end (SIGTERM), and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        self.wait()
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Starts the program again on the same data.
    pub fn restart(&mut self) {
        self.kill();
        (self.child, self.addr) = launch(&self.options, self.home.path());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // Whatever a test sent, nothing may have fallen over. A test that has failed already says so itself.
        if !std::thread::panicking() {
            // A panic is written down before its request is answered.
            let log = String::from_utf8_lossy(&fs::read(self.home.path().join("log")).unwrap()).into_owned();
            assert!(!log.contains("panicked"), "the server has panicked:\n{log}");
        }
    }
}

/// Asks whether a server lives; the id of the request.
fn probe(addr: SocketAddr) -> Option<String> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&addr, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
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
    assert!(status.success(), "kill(1) does not reach {pid}");
}

/// Waits for a process, but not for ever.
fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn launch(options: &Options, home: &Path) -> (Child, SocketAddr) {
    let log = fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
    let mut child = options.command(home).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    // Reads on, so that the program never waits for its output to be read.
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    let first = lines.recv_timeout(PATIENCE);
    let addr = first.as_deref().ok().and_then(|line| line.strip_prefix("artifactd listens on http://"));
    let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else {
        let _ = child.kill();
        let log = fs::read_to_string(home.join("log")).unwrap_or_default();
        panic!(
            "the server does not start: it says {first:?} and logs\n{log}\nwith the configuration\n{}",
            options.yaml()
        );
    };
    (child, addr)
}

/// Runs a test against a fresh server of each flavour.
pub fn on_every_driver(test: impl Fn(&Server)) {
    on_every_driver_with(&Options::new(), test);
}

/// The same with options.
pub fn on_every_driver_with(options: &Options, test: impl Fn(&Server)) {
    for flavour in flavours() {
        // Where it fails, the test's output ends with the flavour.
        println!("on {flavour}");
        test(&Server::start(flavour, options));
    }
}
