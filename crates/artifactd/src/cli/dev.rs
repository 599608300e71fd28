//! `artifactd dev`: runs a local server for development, with its own store, key and token. This module must never run
//! a server that other machines can reach.

mod announcement;
mod data_dir;
mod identity;
mod listen;

use std::net::SocketAddr;
use std::path::PathBuf;

use artifact_store::Registry;

use self::announcement::Announcement;
use self::data_dir::DataDir;
use self::identity::{DevIdentity, TOKEN_FILE};
use self::listen::parse_listen;
use super::error::CommandError;
use super::serve::{Listening, parse_key_value, serve};
use super::signals::{HangupAction, ServerSignals};
use crate::config::keys::OPTIONS;
use crate::config::{Purpose, Settings};

/// What to do if the address cannot be listened on.
const BIND_ADVICE: &str = "choose another with --listen, such as --listen 127.0.0.1:0 for any free port";

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct DevArgs {
    /// Where to listen: a loopback address and a port, such as 127.0.0.1:18080, localhost:18080 or :18080
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18080", value_parser = parse_listen)]
    listen: SocketAddr,
    /// The driver of the store. A store with a path is in the data directory; any other needs its keys as --set or in the
    /// environment
    #[arg(long, value_name = "NAME", default_value = "sqlite")]
    driver: String,
    /// The directory for the store, the key and the token
    #[arg(long, value_name = "DIR", default_value = "./.artifactd")]
    data_dir: PathBuf,
    /// Give the token the scope admin: it may put, list and delete for other users and in other tenants
    #[arg(long)]
    admin: bool,
    /// Set a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_key_value)]
    set: Vec<(String, String)>,
}

pub(super) async fn run(args: DevArgs, registry: &Registry) -> Result<(), CommandError> {
    let signals = ServerSignals::listen(HangupAction::Shutdown)?;
    let key_values = key_values(&args, registry)?;
    let (settings, _) =
        Settings::load_for(Purpose::Embed, registry, None, &key_values).map_err(CommandError::usage)?;
    let bind_addr = settings.server.bind_addr;
    if !bind_addr.ip().is_loopback() {
        return Err(CommandError::usage(format!(
            "{} is not a loopback address: dev prints a token, so it listens only on this machine; use serve instead",
            bind_addr.ip()
        )));
    }
    // The directory is locked until this function returns.
    let mut dir = DataDir::open(&args.data_dir)?;
    let DevIdentity { verifier, token, expires_at } = DevIdentity::open(&dir, &settings, args.admin)?;
    serve(&settings, registry, verifier, signals.shutdown, BIND_ADVICE, |listening| {
        let Listening { addr, max_request_bytes, max_upload_bytes } = listening;
        dir.set_url(&format!("http://{addr}"))?;
        let announcement = Announcement {
            addr,
            driver: settings.artifacts.store.driver.clone(),
            data_dir: args.data_dir.clone(),
            token_file: dir.file(TOKEN_FILE),
            token,
            expires_at,
            max_request_bytes,
            max_upload_bytes,
        };
        Ok(announcement.text())
    })
    .await
}

/// The arguments as configuration keys with their values. `--set` comes last, so that it overrides the other arguments.
fn key_values(args: &DevArgs, registry: &Registry) -> Result<Vec<(String, String)>, CommandError> {
    let data_path = |name: &str| {
        let path = args.data_dir.join(name);
        path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
            CommandError::usage("the name of the data directory is not UTF-8; choose another --data-dir")
        })
    };
    let mut key_values = vec![
        ("server.bind_addr".to_owned(), args.listen.to_string()),
        ("artifacts.driver".to_owned(), args.driver.clone()),
        ("telemetry.log_format".to_owned(), "text".to_owned()),
    ];
    match args.driver.as_str() {
        "sqlite" => key_values.push(("artifacts.dsn".to_owned(), data_path("artifacts.db")?)),
        "fs" => key_values.push(("artifacts.fs_root".to_owned(), data_path("artifacts")?)),
        // The driver of another crate. If there is no such driver, the configuration reports it.
        other => {
            let path_option = registry.driver(other).ok().and_then(|driver| driver.info().url.path_option());
            if let Some(option) = path_option {
                key_values.push((format!("{OPTIONS}.{option}"), data_path("artifacts")?));
            }
        }
    }
    key_values.extend(args.set.iter().cloned());
    Ok(key_values)
}
