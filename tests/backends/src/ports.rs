//! Free loopback ports.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::Error;

/// Below the range that systems give to outgoing connections: there, a server that was killed could not have its own
/// port again because some client of another server had got it meanwhile.
const FIRST: u16 = 18_000;
const COUNT: u16 = 12_000;

/// A port that was free a moment ago. Whoever takes it asks again if it is gone.
pub(crate) fn free() -> Result<SocketAddr, Error> {
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

/// A listener on a free port.
pub(crate) async fn listen() -> Result<TcpListener, Error> {
    for _ in 0..20 {
        if let Ok(listener) = TcpListener::bind(free()?).await {
            return Ok(listener);
        }
    }
    Err("no loopback port stays free".into())
}
