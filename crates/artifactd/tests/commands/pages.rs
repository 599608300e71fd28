//! The pages in docs/ match the program.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::path::Path;
use std::process::Command;

use artifact_store::Flag;
use artifact_store_protocol::{Code, EventKind, Method};
use artifactd::config::keys::KEYS;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

/// A row of a table in Markdown.
fn row(cells: &[&str]) -> String {
    format!("| {} |", cells.join(" | "))
}

#[track_caller]
fn assert_contains(name: &str, row: &str) {
    assert!(page(name).contains(row), "docs/{name} lacks the row {row}");
}

#[test]
fn every_code_has_a_row() {
    for code in Code::ALL {
        let descriptor = code.descriptor();
        let status = descriptor.status.to_string();
        assert_contains(
            "protocol/errors.md",
            &row(&[&format!("`{code}`"), &status, descriptor.description, descriptor.retry_advice]),
        );
    }
}

#[test]
fn every_method_has_a_row_and_a_section() {
    for method in Method::ALL {
        let anchor = method.name().replace('.', "");
        let link = format!("[`{method}`](#{anchor})");
        assert_contains("protocol/methods.md", &format!("| {link} | "));
        assert_contains("protocol/methods.md", &format!("\n## `{method}`\n"));
    }
}

#[test]
fn every_type_of_events_has_a_row_and_a_section() {
    for kind in EventKind::ALL {
        assert_contains("protocol/events.md", &row(&[&format!("`{kind}`"), kind.description()]));
        assert_contains("protocol/events.md", &format!("\n### The payload of `{kind}`\n\n| member |"));
    }
}

#[test]
fn every_key_has_a_row_with_its_default_and_meaning() {
    for key in KEYS {
        let page = page("protocol/config.md");
        let start = format!("| `{}` | ", key.name);
        let row = page.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("docs/protocol/config.md lacks {}", key.name));
        let default = key.default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
        assert!(row.ends_with(&format!(" | {default} | {} |", key.about)), "{row}");
    }
}

#[test]
fn every_flag_has_a_row_and_a_column() {
    for flag in Flag::ALL {
        let kind = format!("{:?}", flag.kind()).to_lowercase();
        assert_contains("protocol/capabilities.md", &row(&[&format!("`{flag}`"), &kind, flag.description()]));
        assert_contains("protocol/capabilities.md", &format!(" | `{flag}` |"));
    }
}

#[test]
fn every_route_is_described() {
    let pages = page("protocol.md") + &page("operate.md");
    for route in artifact_store_server::ROUTES {
        let (first, rest) = route.verbs.split_first().unwrap();
        let route_text = format!("{first} {}", route.path);
        assert!(pages.contains(&route_text), "no page describes {route_text}");
        // HEAD is the same as GET without the bytes, so it needs no description.
        assert!(rest.iter().all(|verb| *verb == "HEAD"), "{rest:?} of {} are not described", route.path);
    }
}

#[test]
fn every_route_but_the_methods_has_a_section_for_each_verb() {
    for route in artifact_store_server::ROUTES.iter().filter(|route| !route.path.contains("{method}")) {
        for verb in route.verbs {
            assert_contains("protocol/methods.md", &format!("\n### `{verb} {}`\n", route.path));
        }
    }
}

#[test]
fn every_link_of_a_page_leads_to_a_heading_or_a_file() {
    for name in ["errors.md", "methods.md", "events.md", "config.md", "capabilities.md"] {
        let page = page(&format!("protocol/{name}"));
        let headings = page.lines().filter(|line| line.starts_with('#'));
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchors: Vec<String> = headings
            .map(|line| line.trim_start_matches(['#', ' ']).chars().filter(kept).collect::<String>())
            .map(|heading| heading.to_lowercase().replace(' ', "-"))
            .collect();
        for target in page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let found = match target.strip_prefix('#') {
                Some(anchor) => anchors.iter().any(|known| known == anchor),
                None => Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("../../docs/protocol")
                    .join(target.split('#').next().unwrap())
                    .exists(),
            };
            assert!(found, "docs/protocol/{name} has a link to {target}, which does not exist");
        }
    }
}

#[test]
fn the_default_limits_of_the_configuration_and_in_operate_are_those_of_the_resolver() {
    let resolver = artifact_store_resolver::ResolverOptions::default();
    let settings = artifactd::config::Settings::from_layers(None, std::iter::empty(), &[]).unwrap();
    assert_eq!(settings.protocol.max_request_bytes, resolver.max_request_bytes);
    assert_eq!(settings.protocol.max_upload_bytes, resolver.max_upload_bytes);
    for (key, default) in [
        ("protocol.max_request_bytes", artifact_store_protocol::DEFAULT_MAX_REQUEST_BYTES),
        ("protocol.max_upload_bytes", artifact_store_protocol::DEFAULT_MAX_UPLOAD_BYTES),
    ] {
        let row = KEYS.iter().find(|row| row.name == key).unwrap();
        assert!(row.about.contains(&format!("{default} (")), "{key}: {}", row.about);
    }
    assert_eq!(settings.artifacts.fetch_default_max_bytes, resolver.fetch_default_max_bytes);
    assert_eq!(settings.artifacts.fetch_hard_max_bytes, resolver.fetch_hard_max_bytes);
    let streams = settings.server.event_streams;
    assert_eq!(
        (streams.per_session, streams.per_user, streams.per_tenant, streams.in_all),
        (
            resolver.max_subscribers_per_session,
            resolver.max_subscribers_per_user,
            resolver.max_subscribers_per_tenant,
            resolver.max_subscribers
        )
    );
    assert_eq!(streams.in_all, settings.server.max_connections / 2);
    for row in [
        format!(
            "| event streams | {} a session, {} a user, {} a tenant, half of the connections in all",
            resolver.max_subscribers_per_session,
            resolver.max_subscribers_per_user,
            resolver.max_subscribers_per_tenant
        ),
        format!(
            "| events kept for those who come back | {} a tenant; {} MiB in all",
            resolver.events_kept,
            resolver.events_kept_bytes >> 20
        ),
    ] {
        assert_contains("operate.md", &row);
    }
}

#[test]
fn every_command_is_in_the_operators_page() {
    let page = page("operate.md");
    let help = Command::new(env!("CARGO_BIN_EXE_artifactd")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for command in commands.lines().filter_map(|line| line.split_whitespace().next()) {
        assert!(
            command == "help" || page.contains(&format!("artifactd {command}")),
            "docs/operate.md lacks artifactd {command}"
        );
    }
}
