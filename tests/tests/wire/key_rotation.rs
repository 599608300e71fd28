//! Section 3: keys change while the server runs, from a provider or in a file.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Certificate, Connection, Flavour, Identity, KeyProvider, Response, Server, ServerOptions, SigningKey,
    control, put, sign_token_with,
};
use serde_json::json;
use tempfile::TempDir;

use crate::ada;

/// The pause between two fetches as these tests configure it, and a little more than that.
const REFRESH_PAUSE: (&str, Duration) = ("1s", Duration::from_millis(1100));
const CLIENTS: usize = 50;

/// A token signed with this key.
fn token_of(keys: &SigningKey, identity: &Identity) -> String {
    sign_token_with(&keys.pem, Some(&keys.kid), &identity.claims())
}

fn send_with_token(server: &Server, token: &str) -> Response {
    control("runtime.info", &json!({})).bearer(token).send(server)
}

/// A server whose keys come from this provider. It fetches them when a token names an unknown key.
fn start_server(provider: &KeyProvider) -> Server {
    let options = ServerOptions::new()
        .set("identity.jwks_url", provider.url())
        .set("identity.jwks_refresh_interval", "1h")
        .set("identity.jwks_refresh_min_interval", REFRESH_PAUSE.0);
    Server::start(Flavour::Inmem, &options)
}

/// Waits until `condition` is true.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}: not within a minute");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs one client, which puts and lists with the token of the current generation until it is stopped. Returns the
/// first failure.
fn run_client(
    server: &Server,
    number: usize,
    tokens: &[Vec<String>],
    state: &RotationState,
) -> Result<(), String> {
    let mut connection = Connection::open(server.addr());
    let mut round = 0;
    while !state.stop.load(Ordering::SeqCst) {
        let generation = state.generation.load(Ordering::SeqCst);
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
        state.served[generation].fetch_add(2, Ordering::SeqCst);
        round += 1;
    }
    Ok(())
}

/// The state that the clients share.
struct RotationState {
    generation: AtomicUsize,
    stop: AtomicBool,
    served: [AtomicUsize; 3],
    failed: Mutex<Vec<String>>,
}

#[test]
fn fifty_clients_work_on_while_keys_are_rotated_twice_and_then_the_withdrawn_key_is_refused() {
    let keys = [SigningKey::generate(), SigningKey::generate(), SigningKey::generate()];
    let identities: Vec<Identity> =
        (0..CLIENTS).map(|number| Identity::new("acme", "ada", &format!("s-{number}"))).collect();
    let tokens: Vec<Vec<String>> = keys
        .iter()
        .map(|keys| identities.iter().map(|identity| token_of(keys, identity)).collect())
        .collect();
    let provider = KeyProvider::new(&[&keys[0]]);
    let server = start_server(&provider);
    let state = RotationState {
        generation: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        served: Default::default(),
        failed: Mutex::default(),
    };
    let failed = || !state.failed.lock().unwrap().is_empty();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (server, tokens, state) = (&server, &tokens, &state);
            scope.spawn(move || {
                if let Err(error) = run_client(server, number, tokens, state) {
                    state.failed.lock().unwrap().push(error);
                }
            });
        }
        let wait_for_requests = |generation: usize| {
            let count = || state.served[generation].load(Ordering::SeqCst);
            let goal = count() + 10 * CLIENTS;
            wait_until("requests", || count() > goal || failed());
        };
        for next in 1..keys.len() {
            thread::sleep(REFRESH_PAUSE.1);
            wait_for_requests(next - 1);
            provider.publish(&[&keys[next - 1], &keys[next]]);
            state.generation.store(next, Ordering::SeqCst);
        }
        wait_for_requests(2);
        state.stop.store(true, Ordering::SeqCst);
    });
    let failed = state.failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} clients failed: {}", failed.len(), failed[0]);
    assert_eq!(provider.request_count(), 3, "one fetch at the start, and one for each rotation");
    println!("{CLIENTS} clients, 2 rotations, {:?} requests per key, 3 fetches, none refused", state.served);
    for withdrawn in &tokens[0] {
        send_with_token(&server, withdrawn).expect_refusal("auth_rejected");
    }
    send_with_token(&server, &tokens[1][0]).expect_json(200);
    send_with_token(&server, &tokens[2][0]).expect_json(200);
}

#[test]
fn tokens_with_unknown_keys_cause_one_fetch_per_interval_at_most() {
    let (keys, stranger) = (SigningKey::generate(), SigningKey::generate());
    let provider = KeyProvider::new(&[&keys]);
    let begun = Instant::now();
    let server = start_server(&provider);
    let good = token_of(&keys, &ada());
    let mut sent = 0;
    while begun.elapsed() < 3 * REFRESH_PAUSE.1 {
        let made_up = sign_token_with(&stranger.pem, Some(&format!("made up {sent}")), &ada().claims());
        send_with_token(&server, &made_up).expect_refusal("auth_rejected");
        send_with_token(&server, &good).expect_json(200);
        sent += 1;
    }
    let fair = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    let asked = provider.request_count();
    assert!(
        (2..=fair).contains(&asked) && sent > 2 * asked,
        "{asked} fetches for {sent} tokens, at most {fair} are allowed"
    );
}

#[test]
fn a_provider_that_is_down_changes_nothing_for_keys_that_are_known() {
    let (keys, next) = (SigningKey::generate(), SigningKey::generate());
    let provider = KeyProvider::new(&[&keys]);
    let server = start_server(&provider);
    provider.fail();
    thread::sleep(REFRESH_PAUSE.1);
    send_with_token(&server, &token_of(&next, &ada())).expect_refusal("auth_rejected");
    for session in 0..10 {
        send_with_token(&server, &token_of(&keys, &Identity::new("acme", "ada", &format!("s-{session}"))))
            .expect_json(200);
    }
    wait_until("the log", || server.log().contains("answered 503; the keys from before stay"));
    provider.publish(&[&next]);
    // Within the backoff, or as soon as the pause is over.
    let fresh = token_of(&next, &ada());
    wait_until("the provider is back", || send_with_token(&server, &fresh).status == 200);
    send_with_token(&server, &token_of(&keys, &ada())).expect_refusal("auth_rejected");
    assert!(server.log().contains("the provider of keys answers again"), "{}", server.log());
}

/// Runs a start that must fail. Returns its exit code and its one line of standard error.
fn start_refusal(options: &ServerOptions) -> (Option<i32>, String) {
    let folder = TempDir::new().unwrap();
    let options = options.clone().set("server.bind_addr", "127.0.0.1:0").set("artifacts.driver", "inmem");
    let output = options.command(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    (output.status.code(), stderr)
}

#[test]
fn a_server_that_cannot_get_keys_does_not_start_and_says_why() {
    let keys = SigningKey::generate();
    let provider = KeyProvider::new(&[&keys]);
    provider.fail();
    let from = |url: &str| ServerOptions::new().set("identity.jwks_url", url);
    let (code, stderr) = start_refusal(&from(&provider.url()));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("identity.jwks_url") && stderr.contains("answered 503"), "{stderr}");
    for (options, word) in [
        (from("http://login.example/keys"), "use https"),
        (from("http://169.254.169.254/keys"), "use https"),
        (from("https://169.254.169.254/keys"), "link-local"),
        (from("https://ada:hunter2@login.example/keys"), "user name or password"),
        (from(&provider.url()).set("identity.jwks_file", json!(keys.jwks())), "remove one of the two"),
    ] {
        let (code, stderr) = start_refusal(&options);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("identity.jwks_url") && stderr.contains(word), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    // The same address, written as a decimal number.
    let (code, stderr) = start_refusal(&from("https://2852039166/keys"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("is not allowed") && stderr.contains("link-local"), "{stderr}");
}

#[test]
fn a_provider_over_tls_is_trusted_only_by_its_certificate() {
    let (keys, next) = (SigningKey::generate(), SigningKey::generate());
    let (here, there) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let good = Certificate::new(here, "49");
    let folder = TempDir::new().unwrap();
    let trusting = |certificate: &Certificate, provider: &KeyProvider| {
        let file = folder.path().join("trusted.pem");
        fs::write(&file, certificate.pem()).unwrap();
        ServerOptions::new()
            .set("identity.jwks_url", provider.url())
            .set("identity.jwks_refresh_min_interval", REFRESH_PAUSE.0)
            .env("SSL_CERT_FILE", file.to_str().unwrap())
            .env("SSL_CERT_DIR", folder.path().join("none").to_str().unwrap())
    };
    let provider = KeyProvider::with_tls(&[&keys], &good);
    let server = Server::start(Flavour::Inmem, &trusting(&good, &provider));
    send_with_token(&server, &token_of(&keys, &ada())).expect_json(200);
    provider.publish(&[&next]);
    let fresh = token_of(&next, &ada());
    wait_until("the new key", || send_with_token(&server, &fresh).status == 200);
    let (other, expired) = (Certificate::new(there, "49"), Certificate::new(here, "21"));
    for (what, certificate, trusted) in [
        ("somebody else is trusted", &good, &Certificate::new(here, "49")),
        ("for another host", &other, &other),
        ("expired", &expired, &expired),
    ] {
        let provider = KeyProvider::with_tls(&[&keys], certificate);
        let (code, stderr) = start_refusal(&trusting(trusted, &provider));
        assert_eq!(code, Some(1), "{what}: {stderr}");
        assert!(stderr.contains("is not trusted: "), "{what}: {stderr}");
    }
    let (code, stderr) = start_refusal(&trusting(&good, &provider).env("SSL_CERT_FILE", "/nowhere.pem"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("this machine has no trusted certificate"), "{stderr}");
}

/// Replaces a file atomically, so that no reader sees half of it.
fn replace_file(path: &Path, content: &[u8]) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, content).unwrap();
    fs::rename(&fresh, path).unwrap();
}

#[test]
fn a_key_file_is_rotated_without_a_restart_and_a_broken_one_is_logged_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    let (old, new) = (SigningKey::generate(), SigningKey::generate());
    fs::copy(old.jwks(), &path).unwrap();
    let options = ServerOptions::new().set("identity.jwks_file", json!(path));
    let server = Server::start(Flavour::Inmem, &options);
    let (of_old, of_new) = (token_of(&old, &ada()), token_of(&new, &ada()));
    send_with_token(&server, &of_old).expect_json(200);
    send_with_token(&server, &of_new).expect_refusal("auth_rejected");
    replace_file(&path, b"{\"keys\": [hunter2");
    let warnings = || server.log().lines().filter(|line| line.contains("the keys from before stay")).count();
    wait_until("the log", || warnings() > 0);
    thread::sleep(Duration::from_secs(2));
    send_with_token(&server, &of_old).expect_json(200);
    assert_eq!(warnings(), 1, "{}", server.log());
    assert!(!server.log().contains("hunter2"), "{}", server.log());
    replace_file(&path, &fs::read(new.jwks()).unwrap());
    wait_until("the new key", || send_with_token(&server, &of_new).status == 200);
    send_with_token(&server, &of_old).expect_refusal("auth_rejected");
}
