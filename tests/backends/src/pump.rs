//! One connection through the proxy: two pumps, and the modes between their reads and writes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::proxy::Mode;

const PIECE: usize = 64 * 1024;
/// A throttled second passes in so many pieces.
const PIECES_A_SECOND: u64 = 50;

/// What the proxy tells all its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control {
    pub(crate) mode: Mode,
    /// Counts the changes of the mode.
    pub(crate) change: u64,
    /// Counts the resets of all connections.
    pub(crate) cuts: u64,
}

impl Default for Control {
    fn default() -> Control {
        Control { mode: Mode::Pass, change: 0, cuts: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Towards {
    Server,
    Client,
}

/// Why a connection ended before both sides had said all.
enum End {
    /// Its bytes are used up in this direction.
    Cut(Towards),
    /// A side is gone, or all were reset.
    Reset,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Reset
    }
}

/// Serves one connection to its end.
pub(crate) async fn connection(
    mut client: TcpStream,
    target: SocketAddr,
    mut control: watch::Receiver<Control>,
) {
    let cuts = control.borrow_and_update().cuts;
    let connected = tokio::select! {
        connected = connect(target, control.clone()) => connected,
        () = cut(control.clone(), cuts) => Err(End::Reset),
    };
    let Ok(mut server) = connected else { return reset(client) };
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump(from_client, to_server, Towards::Server, control.clone());
        let down = pump(from_server, to_client, Towards::Client, control.clone());
        tokio::select! {
            both = async { tokio::try_join!(up, down) } => both.err(),
            () = cut(control, cuts) => Some(End::Reset),
        }
    };
    match end {
        None => {}
        Some(End::Reset) => {
            reset(client);
            reset(server);
        }
        // Who got all the bytes that it was to get must be able to read them: a reset might overtake them.
        Some(End::Cut(Towards::Server)) => reset(client),
        Some(End::Cut(Towards::Client)) => reset(server),
    }
}

async fn connect(target: SocketAddr, mut control: watch::Receiver<Control>) -> Result<TcpStream, End> {
    passable(&mut control).await?;
    let server = TcpStream::connect(target).await?;
    server.set_nodelay(true)?;
    Ok(server)
}

/// Ends when all connections are reset, or when the proxy is gone.
async fn cut(mut control: watch::Receiver<Control>, cuts: u64) {
    control.wait_for(|control| control.cuts != cuts).await.map(drop).unwrap_or_default();
}

fn reset(stream: TcpStream) {
    // Nothing to do about a stream that is broken already.
    stream.set_zero_linger().unwrap_or_default();
    drop(stream);
}

/// Waits while nothing may pass; answers the control of this moment.
async fn passable(control: &mut watch::Receiver<Control>) -> Result<Control, End> {
    let seen = control.wait_for(|control| control.mode != Mode::BlackHole).await;
    seen.map(|control| *control).map_err(|_| End::Reset)
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    towards: Towards,
    mut control: watch::Receiver<Control>,
) -> Result<(), End> {
    let mut buffer = vec![0; PIECE];
    let mut passed = 0;
    let mut change = 0;
    loop {
        passable(&mut control).await?;
        let length = from.read(&mut buffer).await?;
        let mut piece = buffer.get(..length).unwrap_or_default();
        if piece.is_empty() {
            passable(&mut control).await?;
            to.shutdown().await?;
            return Ok(());
        }
        while !piece.is_empty() {
            let now = passable(&mut control).await?;
            if now.change != change {
                (change, passed) = (now.change, 0);
            }
            let (allowed, pause) = allowance(now.mode, towards, passed, piece.len());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
                // The mode may have changed; a piece that has waited passes unless nothing does.
                passable(&mut control).await?;
            }
            let (head, rest) = piece.split_at_checked(allowed).unwrap_or((piece, &[]));
            to.write_all(head).await?;
            passed += u64::try_from(head.len()).unwrap_or(u64::MAX);
            piece = rest;
            if used_up(now.mode, towards, passed) {
                to.shutdown().await?;
                return Err(End::Cut(towards));
            }
        }
    }
}

/// How many of `length` bytes pass next, and after what pause.
fn allowance(mode: Mode, towards: Towards, passed: u64, length: usize) -> (usize, Duration) {
    let at_most = |limit: u64| length.min(usize::try_from(limit).unwrap_or(usize::MAX));
    match (mode, towards) {
        (Mode::Delay(pause), _) => (length, pause),
        (Mode::CutAfterToServer(limit), Towards::Server)
        | (Mode::CutAfterToClient(limit), Towards::Client) => {
            (at_most(limit.saturating_sub(passed)), Duration::ZERO)
        }
        (Mode::Throttle { bytes_per_second }, _) => {
            let rate = bytes_per_second.max(1);
            let piece = at_most((rate / PIECES_A_SECOND).max(1));
            let micros = u64::try_from(piece).unwrap_or(u64::MAX).saturating_mul(1_000_000) / rate;
            (piece, Duration::from_micros(micros))
        }
        _ => (length, Duration::ZERO),
    }
}

fn used_up(mode: Mode, towards: Towards, passed: u64) -> bool {
    match (mode, towards) {
        (Mode::CutAfterToServer(limit), Towards::Server)
        | (Mode::CutAfterToClient(limit), Towards::Client) => passed >= limit,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lets_the_rest_of_it_pass_and_only_in_its_direction() {
        let mode = Mode::CutAfterToServer(10);
        assert_eq!(allowance(mode, Towards::Server, 7, 100), (3, Duration::ZERO));
        assert_eq!(allowance(mode, Towards::Client, 7, 100), (100, Duration::ZERO));
        assert!(used_up(mode, Towards::Server, 10) && !used_up(mode, Towards::Client, 10));
    }

    #[test]
    fn a_throttle_passes_small_pieces_with_pauses_that_make_its_rate() {
        let mode = Mode::Throttle { bytes_per_second: 1000 };
        assert_eq!(allowance(mode, Towards::Client, 0, 100), (20, Duration::from_millis(20)));
        assert_eq!(allowance(Mode::Throttle { bytes_per_second: 0 }, Towards::Client, 0, 100).0, 1);
    }
}
