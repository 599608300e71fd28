//! The commands on artifacts: what they store and print.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use crate::support::{MISSING, SESSION, TestStore, pseudorandom_bytes};

#[test]
fn get_returns_the_bytes_of_the_put() {
    for store in TestStore::of_each_driver() {
        for bytes in [vec![], b"a".to_vec(), pseudorandom_bytes(5 * 1024 * 1024 + 17)] {
            let file = store.file("in.bin", &bytes);
            let put = store.run_in_session("put", &[&file]);
            let id = put.expect(0).text().trim_end();
            assert!(
                store.run_in_session("get", &[id]).expect(0).bytes() == bytes,
                "{} {}",
                store.url,
                bytes.len()
            );
        }
    }
}

#[test]
fn standard_input_is_stored_and_standard_output_has_only_the_id() {
    for store in TestStore::of_each_driver() {
        let bytes = pseudorandom_bytes(1024 * 1024);
        let put = store.run_with_stdin("put", &[&["-"], SESSION].concat(), &bytes);
        put.expect(0).expect_message("created: 1.00 MiB in ");
        let id = put.text().strip_suffix('\n').unwrap();
        assert!(id.starts_with("default_") && id.len() == "default_".len() + 32, "{id}");
        assert!(store.run_in_session("get", &[id]).expect(0).bytes() == bytes);
    }
}

#[test]
fn the_same_bytes_are_already_stored() {
    for store in TestStore::of_each_driver() {
        let id = store.put(b"once", &[]);
        let again = store.run_with_stdin("put", &[&["-"], SESSION].concat(), b"once");
        again.expect(0).expect_message("already stored: 4 B, since 2");
        assert_eq!(again.text().trim_end(), id);
    }
}

#[test]
fn quiet_prints_nothing_on_standard_error() {
    let store = TestStore::new("fs");
    let put = store.run_with_stdin("put", &[&["-", "--quiet"], SESSION].concat(), b"x");
    assert_eq!(put.expect(0).stderr(), "");
}

#[test]
fn put_json_is_the_ref_and_the_outcome() {
    for store in TestStore::of_each_driver() {
        let file = store.file("report.csv", "a,b\n");
        let args = ["--json", "--mime-type", "text/csv", "--namespace", "reports", "--task", "t", &file];
        let first = &store.run_in_session("put", &args).expect(0).json()[0];
        assert_eq!(first["outcome"], "created");
        assert_eq!(first["filename"], "report.csv");
        assert_eq!(first["mime_type"], "text/csv");
        assert_eq!(first["namespace"], "reports");
        assert_eq!(first["size_bytes"], 4);
        assert_eq!(first["scope"]["task"], "t");
        assert_eq!(store.run_in_session("put", &args).expect(0).json()[0]["outcome"], "already_exists");
    }
}

#[test]
fn an_invalid_media_type_is_a_usage_error_and_stores_nothing() {
    for store in TestStore::of_each_driver() {
        for kind in ["image/*", "*/*", "csv", "text/csv; header=\"present"] {
            let put = store.run_with_stdin("put", &[&["-", "--mime-type", kind], SESSION].concat(), b"x");
            put.expect(2).expect_message("it takes a media type, such as text/csv");
        }
        store.put(b"x", &["--mime-type", "text/csv; header=present"]);
        assert_eq!(store.run_in_session("ls", &["--json"]).expect(0).json().len(), 1);
    }
}

#[test]
fn a_put_can_leave_out_the_name_of_the_file() {
    let store = TestStore::new("fs");
    let file = store.file("secret-name", "x");
    let put = store.run_in_session("put", &[&file, "--no-filename", "--json"]);
    assert_eq!(put.expect(0).json()[0].get("filename"), None);
}

#[test]
fn a_range_is_exactly_those_bytes() {
    for store in TestStore::of_each_driver() {
        let bytes = pseudorandom_bytes(700_000);
        let id = store.put(&bytes, &[]);
        for (range, expected) in [
            ("0-0", &bytes[..1]),
            ("262143-262145", &bytes[262_143..262_146]),
            ("699990-", &bytes[699_990..]),
            ("-5", &bytes[699_995..]),
            ("699999-800000", &bytes[699_999..]),
            ("700000-", &[]),
        ] {
            let get = store.run_in_session("get", &[&id, "--range", range]);
            assert!(get.expect(0).bytes() == expected, "{} {range}", store.url);
        }
    }
}

#[test]
fn a_missing_artifact_ends_every_command_with_4() {
    for store in TestStore::of_each_driver().map(TestStore::with_other_tenant) {
        for command in ["get", "stat", "rm"] {
            for id in [MISSING, "no id at all", "../../etc/passwd"] {
                let outcome = store.run_in_session(command, &[id]);
                assert_eq!(
                    outcome.expect(4).stderr(),
                    "artifactd: there is no such artifact in this scope\n"
                );
                assert_eq!(outcome.text(), "");
            }
        }
    }
}

#[test]
fn an_artifact_is_found_in_no_other_scope() {
    for store in TestStore::of_each_driver() {
        let id = store.put(b"x", &[]);
        for scope in [
            ["--tenant", "acme2", "--user", "ada", "--session", "s-1"],
            ["--tenant", "acme", "--user", "bob", "--session", "s-1"],
            ["--tenant", "acme", "--user", "ada", "--session", "s-2"],
        ] {
            store.run("get", &[&[id.as_str()][..], &scope].concat()).expect(4);
        }
        store.run_in_session("get", &[&id, "--task", "t"]).expect(4);
    }
}

#[test]
fn a_second_deletion_finds_nothing() {
    for store in TestStore::of_each_driver() {
        let id = store.put(b"x", &[]);
        store.run_in_session("rm", &[&id]).expect(0).expect_message(&format!("removed {id}"));
        store.run_in_session("rm", &[&id]).expect(4);
        store.run_in_session("get", &[&id]).expect(4);
    }
}

#[test]
fn a_deletion_tries_every_id_before_it_reports_a_missing_one() {
    for store in TestStore::of_each_driver() {
        let (a, b) = (store.put(b"a", &[]), store.put(b"b", &[]));
        let outcome = store.run_in_session("rm", &["--json", &a, MISSING, &b]);
        outcome.expect(4).expect_message(MISSING).expect_message("not every artifact was removed");
        let deleted: Vec<_> = outcome.json().iter().map(|row| row["deleted"].as_bool().unwrap()).collect();
        assert_eq!(deleted, [true, false, true]);
        assert_eq!(store.run("ls", &["--all-tenants", "--json"]).expect(0).text(), "");
    }
}

#[test]
fn stat_shows_the_record() {
    for store in TestStore::of_each_driver() {
        let args = ["--filename", "é.csv", "--tag", "q3", "--source", "tool", "--metadata", r#"{"page": 3}"#];
        let id = store.put(b"12345", &args);
        let stat = store.run_in_session("stat", &[&id]);
        let text = stat.expect(0).text();
        for line in [
            format!("id:         {id}"),
            "sha256:     5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5".into(),
            "size:       5 bytes".into(),
            "filename:   é.csv".into(),
            "tag:        q3".into(),
            "source:     tool".into(),
            r#"metadata:   {"page":3}"#.into(),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in:\n{text}");
        }
        let row = &store.run_in_session("stat", &[&id, "--json"]).expect(0).json()[0];
        assert_eq!(row["ref"]["id"], id.as_str());
        assert_eq!(row["metadata"]["page"], 3);
    }
}
