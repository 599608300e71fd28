//! The server as a process runs it: a listener, its connections, and how both end.
//!
//! It knows HTTP's connections and no routes.

mod fragment;
mod turns;
mod unread;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use self::turns::Turns;
use self::unread::Unread;
use crate::config::ServerSettings;
use crate::http::{self, App};

/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// What a connection reads and writes at once, at most.
const BUFFER_BYTES: usize = 128 * 1024;
/// How long to wait where the system cannot accept, because it has no file handles left, for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// How long connections may take to end once their requests have.
const FAREWELL: Duration = Duration::from_secs(2);
/// The same where some request is cut off anyway.
const CUT_FAREWELL: Duration = Duration::from_millis(200);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    settings: ServerSettings,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request was answered in full.
    Whole,
    /// The grace period ended before so many requests did.
    Cut(usize),
}

impl Server {
    /// Listens where `settings` say.
    ///
    /// # Errors
    /// Where the address cannot be listened on.
    pub async fn bind(app: App, settings: ServerSettings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.bind_addr).await?;
        Ok(Self { listener, app: Arc::new(app), settings })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then ends: no connection is accepted any more, requests in flight have the grace period to end,
    /// then event streams end.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let Self { listener, app, settings } = self;
        let graceful = GracefulShutdown::new();
        let connections = Connections {
            router: http::router(&app, &settings),
            app: Arc::clone(&app),
            builder: builder(settings.header_timeout),
            patience: settings.body_timeout,
            unsent: watch::Sender::new(0),
        };
        let mut unsent = connections.unsent.subscribe();
        tokio::select! {
            () = accept(listener, connections, settings.max_connections, &graceful) => {}
            () = stop => {}
        }
        // The listener is closed by now.
        app.stopping.store(true, Ordering::Release);
        let mut in_flight = app.in_flight.subscribe();
        let count = *in_flight.borrow();
        tracing::info!(in_flight = count, "shutting down");
        let connections = tokio::spawn(graceful.shutdown());
        let all_gone = async {
            let _ = in_flight.wait_for(|count| *count == 0).await;
            // An answer that has ended may still wait for its client to take the last of it.
            let _ = unsent.wait_for(|count| *count == 0).await;
        };
        let ended = match timeout(settings.shutdown_grace_period, all_gone).await {
            Ok(()) => Ended::Whole,
            Err(_) => Ended::Cut(*app.in_flight.borrow() + *unsent.borrow()),
        };
        app.resolver.close_events().await;
        // Connections that only wait for their clients are let go.
        let farewell = if ended == Ended::Whole { FAREWELL } else { CUT_FAREWELL };
        let _ = timeout(farewell, connections).await;
        ended
    }
}

fn builder(header_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES);
    builder
}

/// What every connection is served with.
#[derive(Clone)]
struct Connections {
    router: Router,
    app: Arc<App>,
    builder: http1::Builder,
    patience: Duration,
    /// Answers that have ended and wait for their clients to take the last bytes.
    unsent: watch::Sender<usize>,
}

/// Accepts for ever. A connection past `most` waits to be accepted until another has ended.
async fn accept(listener: TcpListener, connections: Connections, most: usize, graceful: &GracefulShutdown) {
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    loop {
        // Nobody closes the semaphore.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = connections.clone().serve(stream, graceful.watcher());
                tokio::spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(error = error.to_string(), "cannot accept connections; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the connection that was to be accepted has failed, and not the accepting.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl Connections {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        let Self { router, app, builder, patience, unsent } = self;
        // Small answers are sent at once. Where it fails the connection is dead, and reading says so.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        // A client that does not read is cut off.
        stream.set_write_timeout(Some(patience));
        let turns = Arc::new(Turns::new(unsent));
        let stream = Unread::new(Box::pin(stream), Arc::clone(&turns), http::unreadable);
        let service = service_fn(move |request| {
            let turn = turns.begin();
            let answer = router.clone().call(http::prepare(&app, request, turn.has_fragment()));
            async move { answer.await.map(|response| turn.with(http::finish(response))) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error = error.to_string(), "connection ended");
        }
    }
}
