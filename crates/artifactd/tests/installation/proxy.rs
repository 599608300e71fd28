//! The server behind nginx, with exactly the block of the page.

use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use artifact_store::core::parse_size;

use crate::machine::{Answer, Machine, PROXY, on_a_machine, wait_until};
use crate::page::file;

const SERVICE: &str = "Install it as a service";
const IN_FRONT: &str = "In front of it";
const MIB: usize = 1 << 20;

/// Counts the open temporary files in which nginx buffers bodies. nginx removes their names at once, so only the
/// descriptors of its processes show these files.
const HELD_BACK: &str = "find /proc/[0-9]*/fd -lname '/var/lib/nginx/*' 2>/dev/null | wc -l";

fn install(machine: &Machine) {
    machine.follow(SERVICE);
    machine.follow(IN_FRONT);
    // The master process of nginx returns before its workers accept requests.
    wait_until("the proxy answers", || {
        machine.curl(&format!("-X POST {PROXY}/v1/control/runtime.info")).status != "000"
    });
}

/// Bytes that do not repeat.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

#[test]
fn a_large_body_streams_through_and_a_range_of_it_comes_back() {
    on_a_machine("proxy::a_large_body_streams_through_and_a_range_of_it_comes_back", |machine| {
        install(machine);
        let body = bytes(60 * MIB);
        let end = r"-w '\n%{http_code} %{content_type}'";
        let mut upload = machine.start_curl(&format!("{end} -T - '{PROXY}/v1/artifacts?filename=large'"));
        let mut stdin = upload.stdin.take().unwrap();
        stdin.write_all(&body[..8 * MIB]).unwrap();
        // The server receives the upload before the client has sent all bytes.
        wait_until("the server gets a body that has not ended", || {
            machine.metric("artifactd_connections{state=\"upload\"}") >= 1.0
        });
        assert_eq!(machine.sh(HELD_BACK).trim(), "0", "nginx writes the upload to a file");
        stdin.write_all(&body[8 * MIB..]).unwrap();
        drop(stdin);
        let answer = Answer::new(upload);
        assert_eq!(answer.status, "201", "{}", String::from_utf8_lossy(&answer.body));
        let put: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let id = put["ref"]["id"].as_str().unwrap();

        let (from, to) = (33 * MIB + 7, 33 * MIB + 70_006);
        let range = machine.curl(&format!("-r {from}-{to} {PROXY}/v1/artifacts/{id}"));
        assert_eq!(range.status, "206");
        assert!(range.body == body[from..=to], "the range has other bytes");
        let whole = machine.curl(&format!("{PROXY}/v1/artifacts/{id}"));
        assert!(whole.status == "200" && whole.body == body, "the download has other bytes");
        // A client reads slowly: the server waits for the client, and nginx buffers nothing in a file.
        let mut slow = machine.start_curl(&format!("--limit-rate 1M -o /dev/null {PROXY}/v1/artifacts/{id}"));
        wait_until("the download runs", || {
            machine.metric("artifactd_connections{state=\"download\"}") >= 1.0
        });
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(machine.sh(HELD_BACK).trim(), "0", "nginx writes the download to a file");
        assert!(machine.metric("artifactd_connections{state=\"download\"}") >= 1.0, "the server waits");
        slow.kill().unwrap();
        slow.wait().unwrap();
    });
}

#[test]
fn an_event_arrives_at_once() {
    on_a_machine("proxy::an_event_arrives_at_once", |machine| {
        install(machine);
        let before = machine.metric("artifactd_event_streams_open");
        let mut stream = machine.start_curl(&format!("-N {PROXY}/v1/events"));
        let stdout = stream.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        wait_until("the stream is open", || machine.metric("artifactd_event_streams_open") > before);
        let put = machine.curl(&format!("-X PUT --data-binary event {PROXY}/v1/artifacts"));
        assert_eq!(put.status, "201");
        let mut seen = Vec::new();
        while !seen.iter().any(|line: &String| line.contains("artifacts.uploaded")) {
            // The timeout is shorter than the 15 seconds between two keep-alive comments, because a comment would flush
            // a buffer.
            let line = lines.recv_timeout(Duration::from_secs(5));
            seen.push(line.unwrap_or_else(|_| panic!("the event is held back: {seen:?}")));
        }
        stream.kill().unwrap();
        stream.wait().unwrap();
    });
}

#[test]
fn what_the_proxy_refuses_is_an_envelope_and_what_the_server_refuses_passes_through() {
    on_a_machine(
        "proxy::what_the_proxy_refuses_is_an_envelope_and_what_the_server_refuses_passes_through",
        |machine| {
            install(machine);
            for (mib, by_proxy) in [(65, false), (88, true)] {
                machine.sh(&format!("head -c {} /dev/zero > \"$HOME/body\"", mib * MIB));
                for path in ["artifacts/large.html", "artifacts"] {
                    if path != "artifacts" && !by_proxy {
                        continue;
                    }
                    let answer = machine.curl(&format!("-T \"$HOME/body\" {PROXY}/v1/{path}"));
                    assert_eq!(
                        (&*answer.status, &*answer.code()),
                        ("413", "request_too_large"),
                        "{mib} MiB, {path}"
                    );
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    assert_eq!(text.contains("this proxy"), by_proxy, "{text}");
                }
            }
            let forwarded = "-H 'X-Forwarded-For: 203.0.113.7' -H 'Forwarded: for=198.51.100.1'";
            let missing = machine.curl(&format!("{forwarded} {PROXY}/v1/artifacts/no_such"));
            let log = std::fs::read_to_string("/var/log/artifactd").unwrap();
            assert!(log.contains("\"client\":\"203.0.113.7\""), "the log does not name the client: {log}");
            assert_eq!((&*missing.status, &*missing.code()), ("404", "not_found"));
            assert_eq!(
                machine.curl(&format!("{PROXY}/metrics")).status,
                "404",
                "metrics are not for the world"
            );

            machine.sh("systemctl stop artifactd");
            wait_until("the server ends", || {
                !std::path::Path::new(&format!("/proc/{}/exe", machine.pid())).exists()
            });
            for path in ["artifacts/x.html", "events", "control/runtime.info"] {
                let answer = machine.curl(&format!("{PROXY}/v1/{path}"));
                assert_eq!((&*answer.status, &*answer.code()), ("502", "runtime_error"), "{path}");
            }
        },
    );
}

#[test]
fn the_body_limit_and_timeout_of_the_proxy_fit_those_of_the_server() {
    let block = file(IN_FRONT, "/etc/nginx/conf.d/artifactd.conf");
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}")).trim_matches([' ', ';', ':']).to_owned()
    };
    let config = file(SERVICE, "/etc/artifactd/artifactd.yaml");
    let request = parse_size(&value(&config, "max_request_bytes")).unwrap();
    let limit = value(&block, "client_max_body_size");
    let limit = limit.strip_suffix('m').unwrap().parse::<u64>().unwrap() << 20;
    // `artifacts.put` sends the bytes as base64, which is a third longer. 1 MiB is for the JSON around them.
    let needed = request.div_ceil(3) * 4 + (1 << 20);
    assert!((needed..needed + (1 << 20)).contains(&limit), "{limit} bytes instead of {needed}");
    let seconds = value(&block, "proxy_read_timeout");
    // An event stream has a keep-alive comment every 15 seconds.
    assert!(seconds.strip_suffix('s').unwrap().parse::<u64>().unwrap() > 15, "{seconds}");
}
