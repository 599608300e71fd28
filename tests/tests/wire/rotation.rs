//! Section 3: keys come and go while the server runs, from a provider or in a file.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Certificate, Connection, Flavour, KeyProvider, Keys, Options, Response, Server, Who, control, put,
    signed_with,
};
use serde_json::json;
use tempfile::TempDir;

use crate::ada;

/// The pause between two attempts, as these tests configure it, and a little more than that.
const PAUSE: (&str, Duration) = ("1s", Duration::from_millis(1100));
const CLIENTS: usize = 50;

/// A token of these keys.
fn token(keys: &Keys, who: &Who) -> String {
    signed_with(&keys.pem, Some(&keys.kid), &who.claims())
}

fn with(server: &Server, token: &str) -> Response {
    control("runtime.info", &json!({})).bearer(token).send(server)
}

/// A server whose keys come from this provider, which it asks when a token names an unknown key.
fn server_of(provider: &KeyProvider) -> Server {
    let options = Options::new()
        .set("identity.jwks_url", provider.url())
        .set("identity.jwks_refresh_interval", "1h")
        .set("identity.jwks_refresh_min_interval", PAUSE.0);
    Server::start(Flavour::Inmem, &options)
}

/// Waits until `is_so`.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}: not within a minute");
        thread::sleep(Duration::from_millis(10));
    }
}

/// One client: puts and reads with the token of the moment until it is told to stop. What went wrong.
fn client(server: &Server, number: usize, tokens: &[Vec<String>], moment: &Moment) -> Result<(), String> {
    let mut connection = Connection::open(server.addr());
    let mut round = 0;
    while !moment.stop.load(Ordering::SeqCst) {
        let generation = moment.generation.load(Ordering::SeqCst);
        let token = &tokens[generation][number];
        let (answer, open) = put("", format!("{number} {round}")).bearer(token).send_on(connection);
        if answer.status != 201 && answer.status != 200 {
            return Err(format!("client {number}, keys {generation}: {answer:?}"));
        }
        let list = control("artifacts.list", &json!({ "limit": 1 })).bearer(token);
        let (answer, open) = list.send_on(open);
        if answer.status != 200 {
            return Err(format!("client {number}, keys {generation}: {answer:?}"));
        }
        connection = open;
        moment.served[generation].fetch_add(2, Ordering::SeqCst);
        round += 1;
    }
    Ok(())
}

/// What the clients share.
struct Moment {
    generation: AtomicUsize,
    stop: AtomicBool,
    served: [AtomicUsize; 3],
    failed: Mutex<Vec<String>>,
}

#[test]
fn fifty_clients_work_on_while_keys_are_rotated_twice_and_then_the_withdrawn_key_is_refused() {
    let keys = [Keys::generate(), Keys::generate(), Keys::generate()];
    let whos: Vec<Who> = (0..CLIENTS).map(|number| Who::new("acme", "ada", &format!("s-{number}"))).collect();
    let tokens: Vec<Vec<String>> =
        keys.iter().map(|keys| whos.iter().map(|who| token(keys, who)).collect()).collect();
    let provider = KeyProvider::new(&[&keys[0]]);
    let server = server_of(&provider);
    let moment = Moment {
        generation: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        served: Default::default(),
        failed: Mutex::default(),
    };
    let failed = || !moment.failed.lock().unwrap().is_empty();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (server, tokens, moment) = (&server, &tokens, &moment);
            scope.spawn(move || {
                if let Err(why) = client(server, number, tokens, moment) {
                    moment.failed.lock().unwrap().push(why);
                }
            });
        }
        let busy = |generation: usize| {
            let count = || moment.served[generation].load(Ordering::SeqCst);
            let goal = count() + 10 * CLIENTS;
            until("requests", || count() > goal || failed());
        };
        for next in 1..keys.len() {
            thread::sleep(PAUSE.1);
            busy(next - 1);
            provider.publish(&[&keys[next - 1], &keys[next]]);
            moment.generation.store(next, Ordering::SeqCst);
        }
        busy(2);
        moment.stop.store(true, Ordering::SeqCst);
    });
    let failed = moment.failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} clients failed: {}", failed.len(), failed[0]);
    assert_eq!(provider.asked(), 3, "one fetch at the start, and one a rotation");
    println!("{CLIENTS} clients, 2 rotations, {:?} requests a key, 3 fetches, none refused", moment.served);
    for withdrawn in &tokens[0] {
        with(&server, withdrawn).refused("auth_rejected");
    }
    with(&server, &tokens[1][0]).ok(200);
    with(&server, &tokens[2][0]).ok(200);
}

#[test]
fn tokens_of_made_up_keys_reach_the_provider_once_a_pause_at_most() {
    let (keys, stranger) = (Keys::generate(), Keys::generate());
    let provider = KeyProvider::new(&[&keys]);
    let begun = Instant::now();
    let server = server_of(&provider);
    let good = token(&keys, &ada());
    let mut sent = 0;
    while begun.elapsed() < 3 * PAUSE.1 {
        let made_up = signed_with(&stranger.pem, Some(&format!("made up {sent}")), &ada().claims());
        with(&server, &made_up).refused("auth_rejected");
        with(&server, &good).ok(200);
        sent += 1;
    }
    let fair = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    let asked = provider.asked();
    assert!(
        (2..=fair).contains(&asked) && sent > 2 * asked,
        "{asked} fetches for {sent} tokens, {fair} are fair"
    );
}

#[test]
fn a_provider_that_is_down_changes_nothing_for_keys_that_are_known() {
    let (keys, next) = (Keys::generate(), Keys::generate());
    let provider = KeyProvider::new(&[&keys]);
    let server = server_of(&provider);
    provider.fail();
    thread::sleep(PAUSE.1);
    with(&server, &token(&next, &ada())).refused("auth_rejected");
    for session in 0..10 {
        with(&server, &token(&keys, &Who::new("acme", "ada", &format!("s-{session}")))).ok(200);
    }
    until("the log", || server.log().contains("answered 503; the keys from before stay"));
    provider.publish(&[&next]);
    // Within the back-off, or as soon as the pause is over.
    let fresh = token(&next, &ada());
    until("the provider is back", || with(&server, &fresh).status == 200);
    with(&server, &token(&keys, &ada())).refused("auth_rejected");
    assert!(server.log().contains("the provider of keys answers again"), "{}", server.log());
}

/// The exit code of a start that fails, and its one line.
fn refused(options: &Options) -> (Option<i32>, String) {
    let folder = TempDir::new().unwrap();
    let options = options.clone().set("server.bind_addr", "127.0.0.1:0").set("artifacts.driver", "inmem");
    let output = options.command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    (output.status.code(), said)
}

#[test]
fn a_server_that_can_have_no_keys_does_not_start_and_says_why() {
    let keys = Keys::generate();
    let provider = KeyProvider::new(&[&keys]);
    provider.fail();
    let from = |url: &str| Options::new().set("identity.jwks_url", url);
    let (code, said) = refused(&from(&provider.url()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("identity.jwks_url") && said.contains("answered 503"), "{said}");
    for (options, word) in [
        (from("http://login.example/keys"), "use https"),
        (from("http://169.254.169.254/keys"), "use https"),
        (from("https://169.254.169.254/keys"), "link-local"),
        (from("https://ada:hunter2@login.example/keys"), "user name or password"),
        (from(&provider.url()).set("identity.jwks_file", json!(keys.jwks())), "leave one of them out"),
    ] {
        let (code, said) = refused(&options);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("identity.jwks_url") && said.contains(word), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    // The same address as a name that nobody would take for one.
    let (code, said) = refused(&from("https://2852039166/keys"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is not asked") && said.contains("link-local"), "{said}");
}

#[test]
fn a_provider_over_tls_is_trusted_by_its_certificate_alone() {
    let (keys, next) = (Keys::generate(), Keys::generate());
    let (here, there) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let good = Certificate::new(here, "49");
    let folder = TempDir::new().unwrap();
    let trusting = |certificate: &Certificate, provider: &KeyProvider| {
        let file = folder.path().join("trusted.pem");
        fs::write(&file, certificate.pem()).unwrap();
        Options::new()
            .set("identity.jwks_url", provider.url())
            .set("identity.jwks_refresh_min_interval", PAUSE.0)
            .env("SSL_CERT_FILE", file.to_str().unwrap())
            .env("SSL_CERT_DIR", folder.path().join("none").to_str().unwrap())
    };
    let provider = KeyProvider::with_tls(&[&keys], &good);
    let server = Server::start(Flavour::Inmem, &trusting(&good, &provider));
    with(&server, &token(&keys, &ada())).ok(200);
    provider.publish(&[&next]);
    let fresh = token(&next, &ada());
    until("the new key", || with(&server, &fresh).status == 200);
    let (other, expired) = (Certificate::new(there, "49"), Certificate::new(here, "21"));
    for (what, certificate, trusted) in [
        ("somebody else is trusted", &good, &Certificate::new(here, "49")),
        ("for another host", &other, &other),
        ("expired", &expired, &expired),
    ] {
        let provider = KeyProvider::with_tls(&[&keys], certificate);
        let (code, said) = refused(&trusting(trusted, &provider));
        assert_eq!(code, Some(1), "{what}: {said}");
        assert!(said.contains("is not to be trusted: "), "{what}: {said}");
    }
    let (code, said) = refused(&trusting(&good, &provider).env("SSL_CERT_FILE", "/nowhere.pem"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("this machine trusts no certificate"), "{said}");
}

/// Puts a file in the place of another one, as whoever must not show half of it does.
fn replace(path: &Path, content: &[u8]) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, content).unwrap();
    fs::rename(&fresh, path).unwrap();
}

#[test]
fn a_file_of_keys_is_rotated_without_a_restart_and_a_broken_one_is_told_of_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    let (old, new) = (Keys::generate(), Keys::generate());
    fs::copy(old.jwks(), &path).unwrap();
    let options = Options::new().set("identity.jwks_file", json!(path));
    let server = Server::start(Flavour::Inmem, &options);
    let (of_old, of_new) = (token(&old, &ada()), token(&new, &ada()));
    with(&server, &of_old).ok(200);
    with(&server, &of_new).refused("auth_rejected");
    replace(&path, b"{\"keys\": [hunter2");
    let told = || server.log().lines().filter(|line| line.contains("the keys from before stay")).count();
    until("the log", || told() > 0);
    thread::sleep(Duration::from_secs(2));
    with(&server, &of_old).ok(200);
    assert_eq!(told(), 1, "{}", server.log());
    assert!(!server.log().contains("hunter2"), "{}", server.log());
    replace(&path, &fs::read(new.jwks()).unwrap());
    until("the new key", || with(&server, &of_new).status == 200);
    with(&server, &of_old).refused("auth_rejected");
}
