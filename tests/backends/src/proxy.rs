//! A TCP proxy that breaks connections on demand. It must never know what is spoken over them.

use std::fmt;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::pump::{self, Control};
use crate::{Error, ports};

/// Getting its own port back may take a moment.
const REBIND_TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Pass,
    /// No one listens, and what is open is reset.
    Refuse,
    /// Every piece, of 64 KiB at the most, waits so long before it passes, in either direction.
    Delay(Duration),
    /// Connections are taken and stay open, and nothing passes until the mode changes.
    BlackHole,
    /// On each connection so many more bytes pass to the server; then it sees the end, and the client a reset.
    CutAfterToServer(u64),
    /// On each connection so many more bytes pass to the client; then it sees the end, and the server a reset.
    CutAfterToClient(u64),
    /// So many bytes a second pass, on each connection and in each direction.
    Throttle {
        /// At least one.
        bytes_per_second: u64,
    },
}

/// A proxy before one server, in mode [`Mode::Pass`] at first. It is gone with this value.
pub struct Proxy {
    address: SocketAddr,
    door: Arc<Door>,
    control: watch::Sender<Control>,
    accepted: Arc<AtomicU64>,
    runtime: Handle,
    work: JoinHandle<()>,
}

/// The listener, which closes and opens at the very moment that the mode changes.
#[derive(Default)]
struct Door {
    inner: Mutex<(Option<TcpListener>, Option<Waker>)>,
}

impl Proxy {
    /// Listens on a loopback port of its own and passes what comes on to `target`.
    pub async fn before(target: SocketAddr) -> Result<Proxy, Error> {
        let listener = ports::listen().await?;
        let address = listener.local_addr()?;
        let door = Arc::new(Door::default());
        door.set(Some(listener));
        let (control, _) = watch::channel(Control::default());
        let accepted = Arc::new(AtomicU64::new(0));
        let work = tokio::spawn(serve(Arc::clone(&door), target, control.clone(), Arc::clone(&accepted)));
        Ok(Proxy { address, door, control, accepted, runtime: Handle::current(), work })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to new connections and to those that are open. Counts of bytes begin anew.
    pub fn set(&self, mode: Mode) {
        if mode == Mode::Refuse {
            self.door.set(None);
        }
        self.control.send_modify(|control| {
            control.mode = mode;
            control.change += 1;
            control.cuts += u64::from(mode == Mode::Refuse);
        });
        if mode != Mode::Refuse && self.door.is_shut() {
            self.listen_again();
        }
    }

    /// Resets every connection that is open now.
    pub fn cut_all(&self) {
        self.control.send_modify(|control| control.cuts += 1);
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// If its port cannot be had again, it goes on refusing, which no test takes for anything else.
    fn listen_again(&self) {
        let _runtime = self.runtime.enter();
        for _ in 0..REBIND_TRIES {
            let bound = StdListener::bind(self.address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            });
            match bound {
                Ok(listener) => return self.door.set(Some(listener)),
                Err(_) => std::thread::sleep(BETWEEN_TRIES),
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.door.set(None);
        self.work.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .field("control", &*self.control.borrow())
            .finish_non_exhaustive()
    }
}

impl Door {
    fn set(&self, listener: Option<TcpListener>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 = listener;
        if let Some(waker) = inner.1.take() {
            waker.wake();
        }
    }

    fn is_shut(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0.is_none()
    }

    /// The next connection, of whichever listener is there meanwhile.
    async fn accept(&self) -> TcpStream {
        poll_fn(|context| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.1 = Some(context.waker().clone());
            while let Some(listener) = &inner.0 {
                match listener.poll_accept(context) {
                    Poll::Ready(Ok((stream, _))) => return Poll::Ready(stream),
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn serve(
    door: Arc<Door>,
    target: SocketAddr,
    control: watch::Sender<Control>,
    accepted: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = door.accept() => {
                accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(pump::connection(stream, target, control.subscribe()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
