//! Configuration: files, layers, URLs.

use artifact_store_laws::{configuration, store_url};
use artifactd::config::keys::KEYS;
use proptest::prelude::*;

use crate::{odd_text, with_byte_edits};

/// A value that some key accepts, or almost.
fn key_value() -> impl Strategy<Value = String> {
    let known = [
        "127.0.0.1:0",
        "[::1]:1",
        "10s",
        "0s",
        "64KiB",
        "64 M",
        "10",
        ":80",
        "DEBUG",
        "1",
        "4194304",
        "true",
        "false",
        "inmem",
        "fs",
        "sqlite",
        "always",
        "never",
        "json",
        "text",
        "debug",
        "ES256,RS256",
        "https://a.example",
        "/tmp/x",
        ":memory:",
        "0123456789abcdef",
        "*",
    ];
    prop_oneof![4 => prop::sample::select(known.map(str::to_owned).to_vec()), 1 => odd_text()]
}

fn yaml() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
    prop::collection::vec((key, key_value()), 0..5).prop_map(|given| {
        let sections = given.into_iter().filter_map(|(key, value)| {
            let (section, key) = key.split_once('.')?;
            Some(format!("{section}:\n  {key}: {value}\n"))
        });
        sections.collect()
    })
}

fn toml() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
    prop::collection::vec((key, key_value()), 0..5).prop_map(|given| {
        given.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect::<Vec<_>>().concat()
    })
}

fn json() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
    prop::collection::vec((key, key_value()), 0..5).prop_map(|given| {
        let sections = given.into_iter().filter_map(|(key, value)| {
            let (section, key) = key.split_once('.')?;
            Some(format!("{section:?}: {{\n{key:?}: {value:?}}}"))
        });
        format!("{{{}}}", sections.collect::<Vec<_>>().join(",\n"))
    })
}

fn url() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![
        prop::sample::select(vec!["path", "host", "whole", "nothing", "x"]).prop_map(str::to_owned),
        odd_text()
    ];
    let place = prop_oneof![
        odd_text(),
        odd_text().prop_map(|text| format!("//{text}")),
        Just("//u:@@h:1/p".to_owned())
    ];
    let name = prop::sample::select(vec![
        "root",
        "host",
        "size",
        "wait",
        "on",
        "cursor_secret",
        "max_artifact_bytes",
        "other",
    ]);
    let value = prop_oneof![Just("@".to_owned()), odd_text(), Just("5s".to_owned())];
    (scheme, place, prop::collection::vec((name, value), 0..4)).prop_map(|(scheme, place, parameters)| {
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{scheme}:{place}?{}", parameters.join("&"))
    })
}

proptest! {
    #[test]
    fn a_key_means_the_same_in_every_layer(keys in prop::collection::vec((0..50_usize, key_value()), 0..4)) {
        configuration::check_layers(&keys);
    }

    #[test]
    fn a_yaml_file_is_read_or_refused_in_one_line_without_its_secrets(content in with_byte_edits(yaml())) {
        configuration::check_file("yaml", &content);
    }

    #[test]
    fn a_toml_file_is_read_or_refused_in_one_line_without_its_secrets(content in with_byte_edits(toml())) {
        configuration::check_file("toml", &content);
    }

    #[test]
    fn a_json_file_is_read_or_refused_in_one_line_without_its_secrets(content in with_byte_edits(json())) {
        configuration::check_file("json", &content);
    }

    #[test]
    fn a_store_url_shows_none_of_its_values(url in with_byte_edits(url())) {
        store_url::any(&url);
    }

    #[test]
    fn an_escaped_path_reaches_the_driver_unchanged(place in odd_text(), value in odd_text()) {
        store_url::check_path_and_value(&place, &value);
    }
}
