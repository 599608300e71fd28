//! One connection through the proxy: copies bytes in both directions, and applies the mode between reads and writes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::proxy::ProxyMode;

const BUFFER_BYTES: usize = 64 * 1024;
/// The number of pieces per second of a throttled connection.
const PIECES_PER_SECOND: u64 = 50;

/// The state that the proxy shares with all its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProxyState {
    pub(crate) mode: ProxyMode,
    /// Counts the changes of the mode.
    pub(crate) mode_changes: u64,
    /// Counts the resets of all connections.
    pub(crate) resets: u64,
}

impl Default for ProxyState {
    fn default() -> ProxyState {
        ProxyState { mode: ProxyMode::Pass, mode_changes: 0, resets: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// Why a connection ended before both sides finished.
enum ConnectionEnd {
    /// The byte limit in this direction was reached.
    LimitReached(Direction),
    /// One side disconnected, or all connections were reset.
    Reset,
}

impl From<io::Error> for ConnectionEnd {
    fn from(_: io::Error) -> ConnectionEnd {
        ConnectionEnd::Reset
    }
}

/// Forwards one connection until it ends.
pub(crate) async fn forward(
    mut client: TcpStream,
    target: SocketAddr,
    mut state: watch::Receiver<ProxyState>,
) {
    let resets = state.borrow_and_update().resets;
    let connected = tokio::select! {
        connected = connect(target, state.clone()) => connected,
        () = wait_for_reset(state.clone(), resets) => Err(ConnectionEnd::Reset),
    };
    let Ok(mut server) = connected else { return reset(client) };
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let to_server_copy = copy(from_client, to_server, Direction::ToServer, state.clone());
        let to_client_copy = copy(from_server, to_client, Direction::ToClient, state.clone());
        tokio::select! {
            both = async { tokio::try_join!(to_server_copy, to_client_copy) } => both.err(),
            () = wait_for_reset(state, resets) => Some(ConnectionEnd::Reset),
        }
    };
    match end {
        None => {}
        Some(ConnectionEnd::Reset) => {
            reset(client);
            reset(server);
        }
        // Only the sender is reset. A reset of the receiver could discard bytes that it has not read yet.
        Some(ConnectionEnd::LimitReached(Direction::ToServer)) => reset(client),
        Some(ConnectionEnd::LimitReached(Direction::ToClient)) => reset(server),
    }
}

async fn connect(
    target: SocketAddr,
    mut state: watch::Receiver<ProxyState>,
) -> Result<TcpStream, ConnectionEnd> {
    wait_until_passing(&mut state).await?;
    let server = TcpStream::connect(target).await?;
    server.set_nodelay(true)?;
    Ok(server)
}

/// Waits until the number of resets differs from `resets`, or the proxy is dropped.
async fn wait_for_reset(mut state: watch::Receiver<ProxyState>, resets: u64) {
    state.wait_for(|state| state.resets != resets).await.map(drop).unwrap_or_default();
}

fn reset(stream: TcpStream) {
    // An error means that the stream is already broken.
    stream.set_zero_linger().unwrap_or_default();
    drop(stream);
}

/// Waits while the mode is `BlackHole`. Returns the current state.
async fn wait_until_passing(state: &mut watch::Receiver<ProxyState>) -> Result<ProxyState, ConnectionEnd> {
    let state = state.wait_for(|state| state.mode != ProxyMode::BlackHole).await;
    state.map(|state| *state).map_err(|_| ConnectionEnd::Reset)
}

/// Copies bytes from `from` to `to` until the end of `from`, or until the byte limit of the mode is reached.
async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut state: watch::Receiver<ProxyState>,
) -> Result<(), ConnectionEnd> {
    let mut buffer = vec![0; BUFFER_BYTES];
    // The number of bytes forwarded since the last change of the mode.
    let mut passed = 0;
    let mut mode_changes = 0;
    loop {
        wait_until_passing(&mut state).await?;
        let length = from.read(&mut buffer).await?;
        let mut piece = buffer.get(..length).unwrap_or_default();
        if piece.is_empty() {
            wait_until_passing(&mut state).await?;
            to.shutdown().await?;
            return Ok(());
        }
        while !piece.is_empty() {
            let now = wait_until_passing(&mut state).await?;
            if now.mode_changes != mode_changes {
                (mode_changes, passed) = (now.mode_changes, 0);
            }
            let (allowed, delay) = next_piece(now.mode, direction, passed, piece.len());
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
                // The mode may have changed. A delayed piece is still forwarded, unless the mode is `BlackHole` now.
                wait_until_passing(&mut state).await?;
            }
            let (head, rest) = piece.split_at_checked(allowed).unwrap_or((piece, &[]));
            to.write_all(head).await?;
            passed += u64::try_from(head.len()).unwrap_or(u64::MAX);
            piece = rest;
            if is_limit_reached(now.mode, direction, passed) {
                to.shutdown().await?;
                return Err(ConnectionEnd::LimitReached(direction));
            }
        }
    }
}

/// Returns how many of `length` bytes to forward next, and the delay before that.
fn next_piece(mode: ProxyMode, direction: Direction, passed: u64, length: usize) -> (usize, Duration) {
    let at_most = |limit: u64| length.min(usize::try_from(limit).unwrap_or(usize::MAX));
    match (mode, direction) {
        (ProxyMode::Delay(delay), _) => (length, delay),
        (ProxyMode::CutAfterToServer(limit), Direction::ToServer)
        | (ProxyMode::CutAfterToClient(limit), Direction::ToClient) => {
            (at_most(limit.saturating_sub(passed)), Duration::ZERO)
        }
        (ProxyMode::Throttle { bytes_per_second }, _) => {
            let rate = bytes_per_second.max(1);
            let piece = at_most((rate / PIECES_PER_SECOND).max(1));
            let micros = u64::try_from(piece).unwrap_or(u64::MAX).saturating_mul(1_000_000) / rate;
            (piece, Duration::from_micros(micros))
        }
        _ => (length, Duration::ZERO),
    }
}

fn is_limit_reached(mode: ProxyMode, direction: Direction, passed: u64) -> bool {
    match (mode, direction) {
        (ProxyMode::CutAfterToServer(limit), Direction::ToServer)
        | (ProxyMode::CutAfterToClient(limit), Direction::ToClient) => passed >= limit,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_forwards_only_its_remaining_bytes_and_only_in_its_direction() {
        let mode = ProxyMode::CutAfterToServer(10);
        assert_eq!(next_piece(mode, Direction::ToServer, 7, 100), (3, Duration::ZERO));
        assert_eq!(next_piece(mode, Direction::ToClient, 7, 100), (100, Duration::ZERO));
        assert!(
            is_limit_reached(mode, Direction::ToServer, 10)
                && !is_limit_reached(mode, Direction::ToClient, 10)
        );
    }

    #[test]
    fn a_throttle_forwards_small_pieces_with_delays_that_give_its_rate() {
        let mode = ProxyMode::Throttle { bytes_per_second: 1000 };
        assert_eq!(next_piece(mode, Direction::ToClient, 0, 100), (20, Duration::from_millis(20)));
        assert_eq!(next_piece(ProxyMode::Throttle { bytes_per_second: 0 }, Direction::ToClient, 0, 100).0, 1);
    }
}
