//! A TCP proxy that breaks connections on demand. This module must never know the protocol of the connections.

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

use crate::proxy_connection::{self, ProxyState};
use crate::{Error, ports};

/// It may take a moment until the proxy can bind its own port again.
const REBIND_ATTEMPTS: u32 = 100;
const REBIND_DELAY: Duration = Duration::from_millis(10);

/// How a [`Proxy`] treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// Forwards all bytes.
    Pass,
    /// Closes the listener and resets open connections.
    Refuse,
    /// Delays each piece of at most 64 KiB by this time, in both directions.
    Delay(Duration),
    /// Accepts connections and keeps them open, but forwards nothing until the mode changes.
    BlackHole,
    /// Forwards this many more bytes to the server on each connection. Then the server sees the end of the stream, and
    /// the client a reset.
    CutAfterToServer(u64),
    /// Forwards this many more bytes to the client on each connection. Then the client sees the end of the stream, and
    /// the server a reset.
    CutAfterToClient(u64),
    /// Limits the rate on each connection, in each direction.
    Throttle {
        /// The rate. 0 counts as 1.
        bytes_per_second: u64,
    },
}

/// A proxy in front of one server. It starts in mode [`ProxyMode::Pass`] and ends when this value is dropped.
pub struct Proxy {
    address: SocketAddr,
    slot: Arc<ListenerSlot>,
    state: watch::Sender<ProxyState>,
    accepted: Arc<AtomicU64>,
    runtime: Handle,
    task: JoinHandle<()>,
}

/// Holds the listener, so that a change of the mode closes or replaces it at once.
#[derive(Default)]
struct ListenerSlot {
    state: Mutex<ListenerState>,
}

#[derive(Default)]
struct ListenerState {
    /// `None` while the proxy refuses connections.
    listener: Option<TcpListener>,
    /// Wakes the task that accepts connections.
    waker: Option<Waker>,
}

impl Proxy {
    /// Listens on a free loopback port and forwards connections to `target`.
    pub async fn start(target: SocketAddr) -> Result<Proxy, Error> {
        let listener = ports::listen().await?;
        let address = listener.local_addr()?;
        let slot = Arc::new(ListenerSlot::default());
        slot.set(Some(listener));
        let (state, _) = watch::channel(ProxyState::default());
        let accepted = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(Arc::clone(&slot), target, state.clone(), Arc::clone(&accepted)));
        Ok(Proxy { address, slot, state, accepted, runtime: Handle::current(), task })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the mode of new and open connections. The byte counts restart at 0.
    pub fn set_mode(&self, mode: ProxyMode) {
        if mode == ProxyMode::Refuse {
            self.slot.set(None);
        }
        self.state.send_modify(|state| {
            state.mode = mode;
            state.mode_changes += 1;
            state.resets += u64::from(mode == ProxyMode::Refuse);
        });
        if mode != ProxyMode::Refuse && self.slot.is_closed() {
            self.listen_again();
        }
    }

    /// Resets all open connections.
    pub fn reset_all(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// The number of connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Binds the port again. If that fails, the proxy keeps refusing connections, which a test notices.
    fn listen_again(&self) {
        let _runtime = self.runtime.enter();
        for _ in 0..REBIND_ATTEMPTS {
            let bound = StdListener::bind(self.address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            });
            match bound {
                Ok(listener) => return self.slot.set(Some(listener)),
                Err(_) => std::thread::sleep(REBIND_DELAY),
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.slot.set(None);
        self.task.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl ListenerSlot {
    fn set(&self, listener: Option<TcpListener>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.listener = listener;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn is_closed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).listener.is_none()
    }

    /// Accepts the next connection, from the current listener.
    async fn accept(&self) -> TcpStream {
        poll_fn(|context| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waker = Some(context.waker().clone());
            while let Some(listener) = &state.listener {
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
    slot: Arc<ListenerSlot>,
    target: SocketAddr,
    state: watch::Sender<ProxyState>,
    accepted: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = slot.accept() => {
                accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(proxy_connection::forward(stream, target, state.subscribe()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
