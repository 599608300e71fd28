//! The server's configuration: file, environment and flags set a key in the same way, every mistake is one line, and no
//! line and no debug output contains a secret.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use artifactd::config::Settings;
use artifactd::config::keys::{KEYS, ValueKind};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::{assert_one_line, split_field, text};

/// A secret that must never be printed.
pub const SECRET: &str = "hunter2-correct-horse";

/// Options of drivers, which are not in the table of keys.
const OPTIONS: [&str; 4] = [
    "artifacts.options.max_artifact_bytes",
    "artifacts.options.no_such_option",
    "artifacts.options.path",
    "artifacts.options.sync",
];

/// Fields: `y`, `t` or `j` and a file in YAML, TOML or JSON; or `l`, then keys (their number, a byte) and their values.
pub fn any(data: &[u8]) {
    // A fuzzer that has learnt the secret may also write it elsewhere, and there it may be repeated.
    if text(data).contains(&SECRET[..7]) {
        return;
    }
    let (kind, rest) = split_field(data);
    match kind {
        b"l" => {
            let mut rest = rest;
            let mut given = Vec::new();
            while let (Some((number, after)), 0..4) = (rest.split_first(), given.len()) {
                let (value, after) = match after.iter().position(|byte| *byte == crate::FIELD_SEPARATOR) {
                    Some(at) => (&after[..at], &after[at + 1..]),
                    None => (after, &[][..]),
                };
                given.push((usize::from(*number), text(value)));
                rest = after;
            }
            check_layers(&given);
        }
        b"t" => check_file("toml", rest),
        b"j" => check_file("json", rest),
        _ => check_file("yaml", rest),
    }
}

/// Any file is accepted or refused, alone and with a secret before it.
pub fn check_file(format: &str, content: &[u8]) {
    let before = match format {
        "json" => format!(
            "{{\"artifacts\": {{\"cursor_secret\": \"{SECRET}\", \"s3_secret_access_key\": \"{SECRET}\"}}}}"
        ),
        "toml" => format!("[artifacts]\ncursor_secret = \"{SECRET}\"\ns3_secret_access_key = \"{SECRET}\"\n"),
        _ => format!("artifacts:\n  cursor_secret: \"{SECRET}\"\n  s3_secret_access_key: \"{SECRET}\"\n"),
    };
    for content in [content.to_vec(), [before.as_bytes(), content].concat()] {
        let path = write_file(format, &content);
        let first = load(Some(&path), &[], &[]);
        assert_eq!(first, load(Some(&path), &[], &[]), "reading a file twice gives different results");
        for line in first.err().unwrap_or_default() {
            assert!(line.contains(path.to_str().unwrap()) || !line.starts_with('/'), "{line}");
        }
    }
}

/// Keys with values give the same settings, or the same refusal, from a file of any format, from the environment
/// and from flags. Flags override the environment, and the environment overrides the file. Keys are given by number,
/// and repeated ones are ignored.
pub fn check_layers(given: &[(usize, String)]) {
    let given = with_key_names(given);
    let (yaml, toml) = to_yaml_and_toml(&given);
    let (yaml, toml) = (write_file("yaml", yaml.as_bytes()), write_file("toml", toml.as_bytes()));
    let json = write_file("json", to_json(&given).as_bytes());
    let flags = load(None, &[], &given);
    assert_eq!(load(None, &given, &[]), flags, "the environment gives another result: {given:?}");
    assert_eq!(load(Some(&yaml), &[], &[]), flags, "YAML gives another result: {given:?}");
    assert_eq!(load(Some(&toml), &[], &[]), flags, "TOML gives another result: {given:?}");
    assert_eq!(load(Some(&json), &[], &[]), flags, "JSON gives another result: {given:?}");
    if flags.is_ok() {
        let other: Vec<_> = given.iter().map(|(name, _)| (name.clone(), "-".to_owned())).collect();
        assert_eq!(load(Some(&yaml), &other, &given), flags, "the environment overrides flags: {given:?}");
        let (illegal, _) = to_yaml_and_toml(&other);
        let illegal = write_file("yaml", illegal.as_bytes());
        assert_eq!(load(Some(&illegal), &given, &[]), flags, "the file overrides the environment: {given:?}");
    }
}

/// Replaces the numbers by dotted key names, in order. A secret key gets a secret as its value.
fn with_key_names(given: &[(usize, String)]) -> Vec<(String, String)> {
    let keys = KEYS.iter().filter(|key| !matches!(key.kind, ValueKind::Options));
    let all: Vec<_> =
        keys.map(|key| (key.name, key.secret)).chain(OPTIONS.map(|option| (option, false))).collect();
    let mut named: Vec<(String, String)> = Vec::new();
    for (number, value) in given {
        let (name, secret) = all[number % all.len()];
        let value = if secret { format!("{SECRET}{value}") } else { value.clone() };
        if !named.iter().any(|(is, _)| is == name) {
            named.push((name.to_owned(), value));
        }
    }
    named.sort_by(|(one, _), (other, _)| one.split('.').cmp(other.split('.')));
    named
}

/// The same settings as YAML and as TOML.
fn to_yaml_and_toml(given: &[(String, String)]) -> (String, String) {
    let (mut yaml, mut toml) = (String::new(), String::new());
    let mut at: Vec<&str> = Vec::new();
    for (name, value) in given {
        let mut path: Vec<&str> = name.split('.').collect();
        let key = path.pop().unwrap();
        if path != at {
            let shared = path.iter().zip(&at).take_while(|(one, other)| one == other).count();
            for (depth, section) in path.iter().enumerate().skip(shared) {
                writeln!(yaml, "{}{section}:", "  ".repeat(depth)).unwrap();
            }
            at = path;
        }
        writeln!(yaml, "{}{key}: {}", "  ".repeat(at.len()), quote(value)).unwrap();
        writeln!(toml, "{name} = {}", quote(value)).unwrap();
    }
    (yaml, toml)
}

/// The same settings as JSON.
fn to_json(given: &[(String, String)]) -> String {
    let mut document = Value::Object(Map::new());
    for (name, value) in given {
        let pointer = name.split('.').fold(&mut document, |section, key| &mut section[key]);
        *pointer = Value::String(value.clone());
    }
    document.to_string()
}

/// A quoted string that both formats read.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ => write!(quoted, "\\U{:08X}", u32::from(letter)).unwrap(),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns the settings, or the sorted lines of the error without their sources.
fn load(
    file: Option<&PathBuf>,
    environment: &[(String, String)],
    flags: &[(String, String)],
) -> Result<Settings, Vec<String>> {
    let variable = |name: &str| format!("ARTIFACTD__{}", name.to_uppercase().replace('.', "__"));
    let given = environment.iter().map(|(name, value)| (OsString::from(variable(name)), value.into()));
    let settings = Settings::from_layers(file.map(PathBuf::as_path), given, flags);
    let error = match settings {
        Ok(settings) => {
            assert!(!format!("{settings:?}").contains(SECRET), "debug output shows a secret");
            return Ok(settings);
        }
        Err(error) => error,
    };
    let mut sources = vec!["command line: ".to_owned()];
    sources.extend(environment.iter().map(|(name, _)| format!("environment variable {}: ", variable(name))));
    let without_source = |line: &String| {
        assert_one_line(line, 4000);
        assert!(!line.contains(SECRET), "a secret is repeated: {line}");
        let reason = sources.iter().find_map(|source| line.strip_prefix(source.as_str()));
        reason.or_else(|| without_file(file?, line)).unwrap_or(line).to_owned()
    };
    let lines = error.lines();
    assert!(!lines.is_empty(), "an error without a mistake");
    assert_eq!(error.to_string().lines().count() == 1, lines.len() == 1, "{error}");
    let mut reasons: Vec<String> = lines.iter().map(without_source).collect();
    reasons.sort();
    Err(reasons)
}

/// `line` without the name of the file and the position in it.
fn without_file<'a>(file: &Path, line: &'a str) -> Option<&'a str> {
    let rest = line.strip_prefix(file.to_str()?)?;
    let (position, reason) = rest.split_once(": ")?;
    position.bytes().all(|byte| byte.is_ascii_digit() || byte == b':').then_some(reason)
}

/// Writes a file with this content. It exists until this thread writes the next file of its format.
fn write_file(format: &str, content: &[u8]) -> PathBuf {
    thread_local! {
        static FOLDER: TempDir = {
            // A fuzzer writes thousands of files a second.
            let memory = Path::new("/dev/shm");
            TempDir::new_in(memory).or_else(|_| TempDir::new()).unwrap()
        };
    }
    let path = FOLDER.with(|folder| folder.path().join(format!("file.{format}")));
    std::fs::write(&path, content).unwrap();
    path
}
