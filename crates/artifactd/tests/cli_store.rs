//! The operator's verbs on artifacts: bytes and records, there and back.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod cli_kit;

use cli_kit::{MISSING, Place, SESSION, noise};

#[test]
fn bytes_come_back_as_they_were_put() {
    for place in Place::of_each_driver() {
        for bytes in [vec![], b"a".to_vec(), noise(5 * 1024 * 1024 + 17)] {
            let file = place.file("in.bin", &bytes);
            let put = place.within("put", &[&file]);
            let id = put.expect(0).text().trim_end();
            assert!(place.within("get", &[id]).expect(0).bytes() == bytes, "{} {}", place.url, bytes.len());
        }
    }
}

#[test]
fn standard_input_is_stored_and_its_id_is_all_that_standard_output_holds() {
    for place in Place::of_each_driver() {
        let bytes = noise(1024 * 1024);
        let put = place.run_with("put", &[&["-"], SESSION].concat(), &bytes);
        put.expect(0).says("created: 1.00 MiB in ");
        let id = put.text().strip_suffix('\n').unwrap();
        assert!(id.starts_with("default_") && id.len() == "default_".len() + 32, "{id}");
        assert!(place.within("get", &[id]).expect(0).bytes() == bytes);
    }
}

#[test]
fn the_same_bytes_stood_already() {
    for place in Place::of_each_driver() {
        let id = place.put(b"once", &[]);
        let again = place.run_with("put", &[&["-"], SESSION].concat(), b"once");
        again.expect(0).says("stood already: 4 B, since 2");
        assert_eq!(again.text().trim_end(), id);
    }
}

#[test]
fn quiet_says_nothing_on_standard_error() {
    let place = Place::new("fs");
    let put = place.run_with("put", &[&["-", "--quiet"], SESSION].concat(), b"x");
    assert_eq!(put.expect(0).errors(), "");
}

#[test]
fn put_json_is_the_ref_and_the_outcome() {
    for place in Place::of_each_driver() {
        let file = place.file("report.csv", "a,b\n");
        let args = ["--json", "--mime-type", "text/csv", "--namespace", "reports", "--task", "t", &file];
        let first = &place.within("put", &args).expect(0).json()[0];
        assert_eq!(first["outcome"], "created");
        assert_eq!(first["filename"], "report.csv");
        assert_eq!(first["mime_type"], "text/csv");
        assert_eq!(first["namespace"], "reports");
        assert_eq!(first["size_bytes"], 4);
        assert_eq!(first["scope"]["task"], "t");
        assert_eq!(place.within("put", &args).expect(0).json()[0]["outcome"], "stood_already");
    }
}

#[test]
fn a_media_type_that_is_none_is_a_mistake_of_usage_and_stores_nothing() {
    for place in Place::of_each_driver() {
        for kind in ["image/*", "*/*", "csv", "text/csv; header=\"present"] {
            let put = place.run_with("put", &[&["-", "--mime-type", kind], SESSION].concat(), b"x");
            put.expect(2).says("it takes a media type, such as text/csv");
        }
        place.put(b"x", &["--mime-type", "text/csv; header=present"]);
        assert_eq!(place.within("ls", &["--json"]).expect(0).json().len(), 1);
    }
}

#[test]
fn a_put_may_go_without_the_files_name() {
    let place = Place::new("fs");
    let file = place.file("secret-name", "x");
    let put = place.within("put", &[&file, "--no-filename", "--json"]);
    assert_eq!(put.expect(0).json()[0].get("filename"), None);
}

#[test]
fn a_range_is_exactly_those_bytes() {
    for place in Place::of_each_driver() {
        let bytes = noise(700_000);
        let id = place.put(&bytes, &[]);
        for (range, expected) in [
            ("0-0", &bytes[..1]),
            ("262143-262145", &bytes[262_143..262_146]),
            ("699990-", &bytes[699_990..]),
            ("-5", &bytes[699_995..]),
            ("699999-800000", &bytes[699_999..]),
            ("700000-", &[]),
        ] {
            let get = place.within("get", &[&id, "--range", range]);
            assert!(get.expect(0).bytes() == expected, "{} {range}", place.url);
        }
    }
}

#[test]
fn what_is_missing_ends_with_4_in_every_verb() {
    for place in Place::of_each_driver().map(Place::made) {
        for verb in ["get", "stat", "rm"] {
            for id in [MISSING, "no id at all", "../../etc/passwd"] {
                let done = place.within(verb, &[id]);
                assert_eq!(done.expect(4).errors(), "artifactd: there is no such artifact in this scope\n");
                assert_eq!(done.text(), "");
            }
        }
    }
}

#[test]
fn an_artifact_is_found_in_no_other_scope() {
    for place in Place::of_each_driver() {
        let id = place.put(b"x", &[]);
        for scope in [
            ["--tenant", "acme2", "--user", "ada", "--session", "s-1"],
            ["--tenant", "acme", "--user", "bob", "--session", "s-1"],
            ["--tenant", "acme", "--user", "ada", "--session", "s-2"],
        ] {
            place.run("get", &[&[id.as_str()][..], &scope].concat()).expect(4);
        }
        place.within("get", &[&id, "--task", "t"]).expect(4);
    }
}

#[test]
fn a_second_removal_finds_nothing() {
    for place in Place::of_each_driver() {
        let id = place.put(b"x", &[]);
        place.within("rm", &[&id]).expect(0).says(&format!("removed {id}"));
        place.within("rm", &[&id]).expect(4);
        place.within("get", &[&id]).expect(4);
    }
}

#[test]
fn a_removal_tries_every_id_before_it_says_that_one_is_missing() {
    for place in Place::of_each_driver() {
        let (a, b) = (place.put(b"a", &[]), place.put(b"b", &[]));
        let done = place.within("rm", &["--json", &a, MISSING, &b]);
        done.expect(4).says(MISSING).says("not every artifact was removed");
        let deleted: Vec<_> = done.json().iter().map(|row| row["deleted"].as_bool().unwrap()).collect();
        assert_eq!(deleted, [true, false, true]);
        assert_eq!(place.run("ls", &["--all-tenants", "--json"]).expect(0).text(), "");
    }
}

#[test]
fn stat_shows_the_record() {
    for place in Place::of_each_driver() {
        let args = ["--filename", "é.csv", "--tag", "q3", "--source", "tool", "--metadata", r#"{"page": 3}"#];
        let id = place.put(b"12345", &args);
        let stat = place.within("stat", &[&id]);
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
        let row = &place.within("stat", &[&id, "--json"]).expect(0).json()[0];
        assert_eq!(row["ref"]["id"], id.as_str());
        assert_eq!(row["metadata"]["page"], 3);
    }
}
