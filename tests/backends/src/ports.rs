//! Free loopback ports.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::Error;

/// Below the ephemeral port range. A port in that range could be taken by an outgoing connection of another process
/// while a server is killed, so that the server could not bind it again.
const FIRST: u16 = 18_000;
const COUNT: u16 = 12_000;

/// Finds a port that is free now. The caller must retry if it is taken before the bind.
pub(crate) fn find_free() -> Result<SocketAddr, Error> {
    let mut random = RandomState::new().hash_one(std::process::id());
    for _ in 0..200 {
        let offset = u16::try_from(random % u64::from(COUNT))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset));
        if std::net::TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
        random = RandomState::new().hash_one(random);
    }
    Err("no loopback port is free".into())
}

/// Binds a listener to a free port.
pub(crate) async fn listen() -> Result<TcpListener, Error> {
    for _ in 0..20 {
        if let Ok(listener) = TcpListener::bind(find_free()?).await {
            return Ok(listener);
        }
    }
    Err("every free loopback port was taken before the bind".into())
}
