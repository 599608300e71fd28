//! The server's configuration: what a key is given by file, environment or flag counts alike, whatever is wrong is one line, and
//! a secret is in no line and no debug output.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use artifactd::config::Settings;
use artifactd::config::keys::{KEYS, Kind};
use tempfile::TempDir;

use crate::{field, is_line, text};

/// A value that must never be seen again.
pub const SECRET: &str = "hunter2-correct-horse";

/// Options of drivers, which are no keys of the table.
const OPTIONS: [&str; 4] = [
    "artifacts.options.max_artifact_bytes",
    "artifacts.options.no_such_option",
    "artifacts.options.path",
    "artifacts.options.sync",
];

/// Fields: `y` or `t`, a file in YAML or TOML; `l`, keys (their number, a byte) and their values.
pub fn any(data: &[u8]) {
    // Where a fuzzer has learnt the secret it may say it elsewhere, too, and that may be repeated.
    if text(data).contains(&SECRET[..7]) {
        return;
    }
    let (kind, rest) = field(data);
    match kind {
        b"l" => {
            let mut rest = rest;
            let mut given = Vec::new();
            while let (Some((number, after)), 0..4) = (rest.split_first(), given.len()) {
                let (value, after) = match after.iter().position(|byte| *byte == crate::CUT) {
                    Some(at) => (&after[..at], &after[at + 1..]),
                    None => (after, &[][..]),
                };
                given.push((usize::from(*number), text(value)));
                rest = after;
            }
            every_layer_counts_alike(&given);
        }
        b"t" => file_holds("toml", rest),
        _ => file_holds("yaml", rest),
    }
}

/// Any file is read or refused, alone and with a secret before it.
pub fn file_holds(format: &str, content: &[u8]) {
    let before = match format {
        "toml" => format!("[artifacts]\ncursor_secret = \"{SECRET}\"\ns3_secret_access_key = \"{SECRET}\"\n"),
        _ => format!("artifacts:\n  cursor_secret: \"{SECRET}\"\n  s3_secret_access_key: \"{SECRET}\"\n"),
    };
    for content in [content.to_vec(), [before.as_bytes(), content].concat()] {
        let path = write(format, &content);
        let first = load(Some(&path), &[], &[]);
        assert_eq!(first, load(Some(&path), &[], &[]), "a file is not always the same");
        if let Err(line) = first {
            assert!(line.contains(path.to_str().unwrap()) || !line.starts_with('/'), "{line}");
        }
    }
}

/// The keys (by number, distinct) with their values make the same settings, or the same refusal, from a file of either format,
/// from the environment and from flags; and flags stand over the environment, and that over the file.
pub fn every_layer_counts_alike(given: &[(usize, String)]) {
    let given = named(given);
    let (yaml, toml) = written(&given);
    let (yaml, toml) = (write("yaml", yaml.as_bytes()), write("toml", toml.as_bytes()));
    let flags = load(None, &[], &given);
    assert_eq!(load(None, &given, &[]), flags, "the environment counts otherwise: {given:?}");
    assert_eq!(load(Some(&yaml), &[], &[]), flags, "YAML counts otherwise: {given:?}");
    assert_eq!(load(Some(&toml), &[], &[]), flags, "TOML counts otherwise: {given:?}");
    if flags.is_ok() {
        let other: Vec<_> = given.iter().map(|(name, _)| (name.clone(), "-".to_owned())).collect();
        assert_eq!(load(Some(&yaml), &other, &given), flags, "the environment stands over flags: {given:?}");
        let (illegal, _) = written(&other);
        let illegal = write("yaml", illegal.as_bytes());
        assert_eq!(
            load(Some(&illegal), &given, &[]),
            flags,
            "the file stands over the environment: {given:?}"
        );
    }
}

/// Dotted names, in order, and what they are given: for a secret, a secret.
fn named(given: &[(usize, String)]) -> Vec<(String, String)> {
    let keys = KEYS.iter().filter(|key| !matches!(key.kind, Kind::Options));
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

/// A file in YAML and one in TOML.
fn written(given: &[(String, String)]) -> (String, String) {
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
        writeln!(yaml, "{}{key}: {}", "  ".repeat(at.len()), quoted(value)).unwrap();
        writeln!(toml, "{name} = {}", quoted(value)).unwrap();
    }
    (yaml, toml)
}

/// A text in quotes, as both formats read it.
fn quoted(text: &str) -> String {
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

/// The settings, or why there are none without who said it.
fn load(
    file: Option<&PathBuf>,
    environment: &[(String, String)],
    flags: &[(String, String)],
) -> Result<Settings, String> {
    let variable = |name: &str| format!("ARTIFACTD__{}", name.to_uppercase().replace('.', "__"));
    let given = environment.iter().map(|(name, value)| (OsString::from(variable(name)), value.into()));
    let settings = Settings::from_layers(file.map(PathBuf::as_path), given, flags);
    match settings {
        Ok(settings) => {
            assert!(!format!("{settings:?}").contains(SECRET), "debug output shows a secret");
            Ok(settings)
        }
        Err(error) => {
            let line = error.to_string();
            is_line(&line, 4000);
            assert!(!line.contains(SECRET), "a secret is repeated: {line}");
            let file = file.map(|path| format!("{}: ", path.display()));
            let mut sources = vec!["command line: ".to_owned()];
            sources.extend(file);
            sources.extend(
                environment.iter().map(|(name, _)| format!("environment variable {}: ", variable(name))),
            );
            let why = sources.iter().find_map(|source| line.strip_prefix(source.as_str()));
            Err(why.unwrap_or(&line).to_owned())
        }
    }
}

/// A file with this content, which stands until this thread writes the next of its format.
fn write(format: &str, content: &[u8]) -> PathBuf {
    thread_local! {
        static FOLDER: TempDir = {
            // A fuzzer writes some thousand of them a second.
            let memory = std::path::Path::new("/dev/shm");
            TempDir::new_in(memory).or_else(|_| TempDir::new()).unwrap()
        };
    }
    let path = FOLDER.with(|folder| folder.path().join(format!("file.{format}")));
    std::fs::write(&path, content).unwrap();
    path
}
