//! The server as a process runs it: a listener, its connections, and how both end.
//!
//! It knows HTTP's connections and no routes.

mod counts;
mod fragment;
mod refuse;
mod socket;
mod table;
mod turns;
mod unread;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use self::refuse::Refusals;
use self::socket::Socket;
use self::table::{Admitted, Arrival, Begun};
use self::turns::Turns;
use self::unread::Unread;
use crate::config::ServerSettings;
use crate::http::{self, App, RequestKind};

pub use self::counts::ConnectionCounts;
pub(crate) use self::table::{ConnectionTable, Limits};
pub(crate) use self::turns::BodyTurn;

/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// What a connection reads and writes at once, at most.
const BUFFER_BYTES: usize = 128 * 1024;
/// How long to wait where the system cannot accept, because it has no file handles left, for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// The same where a connection was closed, so that there will be room in a moment.
const ROOM_PAUSE: Duration = Duration::from_millis(10);
/// How often a request that waits for a place looks for one that has come free by time alone.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How often an event stream is written to whose client has closed its half of the connection.
const HALF_CLOSED_PROBE: Duration = Duration::from_secs(2);
/// How often the log is told that the system cannot accept.
const ACCEPT_REPORT: Duration = Duration::from_mins(1);
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
            queue_timeout: settings.queue_timeout,
            unsent: watch::Sender::new(0),
        };
        let mut unsent = connections.unsent.subscribe();
        tokio::select! {
            () = accept(listener, connections, &graceful) => {}
            () = stop => {}
        }
        // The listener is closed by now.
        app.stopping.store(true, Ordering::Release);
        app.connections.stop();
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
        // A client that has closed its half of the connection after its request gets the whole answer.
        .half_close(true)
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
    /// How long a request waits for a place.
    queue_timeout: Duration,
    /// Answers that have ended and wait for their clients to take the last bytes.
    unsent: watch::Sender<usize>,
}

/// Accepts for ever: whether there is a place is the table's to say.
async fn accept(listener: TcpListener, connections: Connections, graceful: &GracefulShutdown) {
    let table = Arc::clone(&connections.app.connections);
    let refusals = Refusals::new();
    let mut failed: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let Arrival { admitted, report } = table.arrive(client.ip(), Instant::now());
                if let Some(counts) = report {
                    let (max, evicted, refused) = (table.max(), counts.evicted, counts.refused);
                    tracing::warn!(evicted, refused, "all {max} connections are taken: {counts}");
                }
                match admitted {
                    Some(admitted) => {
                        tokio::spawn(connections.clone().serve(stream, admitted, graceful.watcher()));
                    }
                    None => refusals.refuse(stream),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if failed.is_none_or(|failed| failed.elapsed() >= ACCEPT_REPORT) {
                    failed = Some(Instant::now());
                    tracing::error!(error = error.to_string(), "cannot accept connections; trying again");
                }
                sleep(if table.make_room() { ROOM_PAUSE } else { ACCEPT_PAUSE }).await;
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
    async fn serve(self, stream: TcpStream, admitted: Admitted, watcher: Watcher) {
        let Self { router, app, builder, patience, queue_timeout, unsent } = self;
        let Admitted { slot, close } = admitted;
        let _open = app.metrics.connections.accept();
        // Small answers are sent at once. Where it fails the connection is dead, and reading says so.
        let _ = stream.set_nodelay(true);
        let client = Arc::new(stream);
        let mut stream = TimeoutStream::new(Socket::new(Arc::clone(&client)));
        // A client that does not read is cut off.
        stream.set_write_timeout(Some(patience));
        let turns = Arc::new(Turns::new(unsent, Some(slot)));
        let stream = Unread::new(Box::pin(stream), Arc::clone(&turns), http::unreadable);
        let service = service_fn({
            let turns = Arc::clone(&turns);
            move |request| {
                let turn = turns.begin();
                let begun = turns.take_place(RequestKind::of(request.method(), request.uri().path()));
                let mut request = http::prepare(&app, request, turn.has_fragment(), turns.read_body());
                let (mut router, turns) = (router.clone(), Arc::clone(&turns));
                async move {
                    if !has_place(begun, &turns, queue_timeout).await {
                        http::mark_unplaced(&mut request);
                    }
                    let mut response = router.call(request).await?;
                    if turns.ends() {
                        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(turn.with(http::finish(response)))
                }
            }
        });
        let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
        let why = tokio::select! {
            // In this order: the connection is asked for more after it was told that its client has closed its half.
            biased;
            _ = close => "it went for a newcomer".to_owned(),
            () = socket::reset(&client) => "its client has reset it".to_owned(),
            () = watch_streams(&client, &turns) => String::new(),
            ended = connection => match ended {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
        };
        tracing::debug!(error = why, "connection ended");
    }
}

/// Whether a request is served, perhaps after it has waited for its place.
async fn has_place(begun: Begun, turns: &Turns, patience: Duration) -> bool {
    let mut told = match begun {
        Begun::Served => return true,
        Begun::Refused => return false,
        Begun::Queued(told) => told,
    };
    let waiting = async {
        loop {
            match timeout(LOOK_AGAIN, &mut told).await {
                Ok(told) => return told.unwrap_or(false),
                Err(_) => turns.look_again(),
            }
        }
    };
    match timeout(patience, waiting).await {
        Ok(told) => told,
        Err(_) => turns.give_up(),
    }
}

/// Lets an event stream write now and then once its client has closed its half: such a client may be gone, and only writing shows
/// it. Does not end.
async fn watch_streams(client: &TcpStream, turns: &Turns) {
    turns.stream_begun().await;
    socket::half_closed(client).await;
    loop {
        turns.half_closed();
        sleep(HALF_CLOSED_PROBE).await;
    }
}
