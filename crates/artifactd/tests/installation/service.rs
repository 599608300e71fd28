//! The service: its user, its rights, the first token, and the rotation of its keys.

use crate::machine::{on_a_machine, wait_until};
use crate::page::file;

const SERVICE: &str = "Install it as a service";

#[test]
fn the_commands_of_the_page_install_a_server_that_runs_as_its_own_user() {
    on_a_machine("service::the_commands_of_the_page_install_a_server_that_runs_as_its_own_user", |machine| {
        // The last command of the page stores an artifact with the first token.
        machine.follow(SERVICE);
        let listed = machine.sh("artifactd ls --config /etc/artifactd/artifactd.yaml --tenant acme");
        assert!(listed.contains("hello.txt"), "{listed}");

        let uid = machine.sh("id -u artifactd");
        let running = machine.sh(&format!("stat -c %u /proc/{}", machine.pid()));
        assert_eq!(running, uid);
        assert_ne!(uid.trim(), "0");
        let as_server = "setpriv --reuid artifactd --regid artifactd --init-groups";
        machine.sh(&format!("{as_server} cat /etc/artifactd/jwks.json /etc/artifactd/artifactd.yaml"));
        machine.sh(&format!("! {as_server} cat /etc/artifactd/signer/private.pem"));
        machine.sh(&format!("! {as_server} ls /etc/artifactd/signer"));
        let modes = machine
            .sh("stat -c '%a %U' /etc/artifactd /etc/artifactd/signer /etc/artifactd/signer/private.pem \
             /etc/artifactd/jwks.json /var/lib/artifactd");
        let expected = ["755 root", "700 root", "600 root", "644 root", "750 artifactd"];
        assert_eq!(modes.lines().collect::<Vec<_>>(), expected);
    });
}

/// Prints the status of a request with the token in the file TOKEN of the home folder.
const STATUS: &str = "curl -s -o /dev/null -w '%{http_code}' -X POST -H 'Content-Type: application/json' -d '{}' \
                      -H \"Authorization: Bearer $(cat \"$HOME/TOKEN\")\" http://127.0.0.1:18080/v1/control/runtime.info";

#[test]
fn the_token_of_the_page_has_the_issuer_and_audience_of_its_configuration() {
    on_a_machine(
        "service::the_token_of_the_page_has_the_issuer_and_audience_of_its_configuration",
        |machine| {
            machine.follow(SERVICE);
            assert_eq!(machine.sh(&STATUS.replace("TOKEN", "token")), "200");
            // The server checks issuer and audience: a token without one of them is rejected.
            let token = "artifactd token --key /etc/artifactd/signer/private.pem --tenant acme --user ada --session s-1";
            let with = [("a", "--audience artifacts"), ("b", "--issuer https://artifacts.example")];
            for (name, flags) in with {
                machine.sh(&format!("{token} {flags} > \"$HOME/{name}\""));
                assert_eq!(machine.sh(&STATUS.replace("TOKEN", name)), "401", "{flags}");
            }
        },
    );
}

#[test]
fn a_key_is_rotated_on_the_running_server() {
    on_a_machine("service::a_key_is_rotated_on_the_running_server", |machine| {
        machine.follow(SERVICE);
        machine.sh("artifactd keygen /etc/artifactd/signer-2 --add-to /etc/artifactd/jwks.json");
        machine.sh(
            "artifactd token --key /etc/artifactd/signer-2/private.pem --issuer https://artifacts.example \
             --audience artifacts --tenant acme --user ada --session s-1 > \"$HOME/new\"",
        );
        let status = |token: &str| machine.sh(&STATUS.replace("TOKEN", token));
        wait_until("the new key is accepted", || status("new") == "200");
        assert_eq!(status("token"), "200");
        let old = machine.sh("artifactd keys list /etc/artifactd/jwks.json --json | head -n 1 | sed 's/.*\"kid\":\"\\([^\"]*\\)\".*/\\1/'");
        machine.sh(&format!("artifactd keys retire {} --from /etc/artifactd/jwks.json", old.trim()));
        wait_until("the old key is rejected", || status("token") == "401");
        assert_eq!(status("new"), "200");
        assert_eq!(
            machine.sh("stat -c '%a %U' /etc/artifactd/jwks.json"),
            "644 root\n",
            "the server can read it"
        );
    });
}

#[test]
fn the_unit_gives_the_server_the_time_that_its_end_takes() {
    let unit = file(SERVICE, "/etc/systemd/system/artifactd.service");
    let seconds = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    // The default of server.shutdown_grace_period, and the time in which the store closes.
    assert!(seconds.parse::<u64>().unwrap() > 10 + 10);
}
