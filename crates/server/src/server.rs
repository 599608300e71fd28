//! A complete server: the listener, its connections, and the shutdown.
//!
//! This module must never know a route.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::app::App;
use crate::connections::{
    Admission, AdmittedConnection, ConnectionRefuser, ConnectionState, HeadErrorStream, QueueDecision,
    RequestAdmission, SharedSocket, SocketWatch,
};
use crate::http::{self, HttpService};
use crate::in_progress::InProgressCount;
use crate::request_kind::RequestKind;
use crate::settings::ServerSettings;

/// Maximum number of headers of a request.
const MAX_HEADERS: usize = 100;
/// Maximum size of a request's head, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Maximum size of a connection's buffers, in bytes.
const MAX_BUFFER_BYTES: usize = 128 * 1024;
/// How long to wait if the system cannot accept a connection, for example because no file descriptor is left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(500);
/// How long to wait instead of [`ACCEPT_BACKOFF`] if a connection was just evicted. The wait is short, because the
/// evicted connection frees its file descriptor in a moment.
const EVICTED_ACCEPT_BACKOFF: Duration = Duration::from_millis(10);
/// How often a queued request checks whether a connection can now be evicted for it.
const QUEUE_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How often a comment is written to an event stream whose client has closed its half of the connection. A write shows
/// whether the client is gone.
const HALF_CLOSED_COMMENT_INTERVAL: Duration = Duration::from_secs(2);
/// Minimum time between two log lines about failures to accept.
const ACCEPT_REPORT_INTERVAL: Duration = Duration::from_mins(1);
/// How long connections may take to close after the last response.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Replaces [`CLOSE_TIMEOUT`] if the grace period has ended. The time is short, because some responses are incomplete
/// in any case.
const ABORTED_CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// A server that is bound to its address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    settings: ServerSettings,
}

/// The result of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownOutcome {
    /// Every response was sent completely.
    Complete,
    /// The grace period ended. This number of responses was not sent completely.
    Aborted(usize),
}

impl Server {
    /// Binds to the address of `settings`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(app: App, settings: ServerSettings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.bind_addr).await?;
        Ok(Self { listener, app: Arc::new(app), settings })
    }

    /// Returns the address that the server listens on.
    ///
    /// # Errors
    /// If the system call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` resolves, then shuts down. During the shutdown no connection is accepted, and queued
    /// requests are refused. The server waits for the requests in flight, at most for the grace period. Then the server
    /// ends all event streams.
    pub async fn run(self, stop: impl Future<Output = ()>) -> ShutdownOutcome {
        let Self { listener, app, settings } = self;
        let graceful = GracefulShutdown::new();
        let service = ConnectionService {
            http: HttpService::new(&app, &settings),
            app: Arc::clone(&app),
            builder: http1_builder(settings.header_timeout),
            write_timeout: settings.body_timeout,
            queue_timeout: settings.queue_timeout,
            unsent: Arc::default(),
        };
        let unsent = Arc::clone(&service.unsent);
        tokio::select! {
            // `accept` never returns.
            () = accept(listener, service, &graceful) => {}
            () = stop => {}
        }
        // The listener was dropped with `accept`, so no further connection is accepted.
        app.is_shutting_down.store(true, Ordering::Release);
        app.connections.refuse_queued();
        tracing::info!(in_flight = app.in_flight.get(), "shutting down");
        let all_closed = tokio::spawn(graceful.shutdown());
        let all_sent = async {
            app.in_flight.wait_for_zero().await;
            // After a response has ended, its last bytes may still be in the buffer of hyper.
            unsent.wait_for_zero().await;
        };
        let outcome = match timeout(settings.shutdown_grace_period, all_sent).await {
            Ok(()) => ShutdownOutcome::Complete,
            Err(_) => ShutdownOutcome::Aborted(app.in_flight.get() + unsent.get()),
        };
        app.resolver.close_events().await;
        // The requests in flight are answered, or the grace period has ended. The event streams have ended too. So the
        // connections only get a short time to close.
        let close_timeout =
            if outcome == ShutdownOutcome::Complete { CLOSE_TIMEOUT } else { ABORTED_CLOSE_TIMEOUT };
        let _ = timeout(close_timeout, all_closed).await;
        outcome
    }
}

/// Returns the settings of HTTP/1.1 for all connections.
fn http1_builder(header_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // A client that closes its half of the connection after its request still gets the complete response.
        .half_close(true)
        .header_read_timeout(header_timeout)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES);
    builder
}

/// Everything that is needed to serve a connection. Each connection gets a clone.
#[derive(Clone)]
struct ConnectionService {
    http: HttpService,
    app: Arc<App>,
    builder: http1::Builder,
    /// How long a client may go without reading any byte of its response.
    write_timeout: Duration,
    /// How long a queued request may wait for a regular connection slot.
    queue_timeout: Duration,
    /// Number of responses that have ended but whose last bytes are not flushed, on all connections together.
    unsent: Arc<InProgressCount>,
}

/// Accepts connections and never returns. The table decides which connections are admitted.
async fn accept(listener: TcpListener, service: ConnectionService, graceful: &GracefulShutdown) {
    let table = Arc::clone(&service.app.connections);
    let refuser = ConnectionRefuser::new(http::too_many_connections);
    let mut last_report: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((socket, client)) => {
                let Admission { connection, report } = table.admit(client.ip(), Instant::now());
                if let Some(counts) = report {
                    let max = table.max_connections();
                    tracing::warn!(
                        evicted = counts.evicted,
                        refused = counts.refused,
                        "all {max} connections are taken: {counts}"
                    );
                }
                match connection {
                    Some(connection) => {
                        tokio::spawn(service.clone().serve(socket, client, connection, graceful.watcher()));
                    }
                    None => refuser.refuse(socket),
                }
            }
            // Only the new connection has failed, so the next one is accepted at once.
            Err(error) if is_connection_error(&error) => {}
            // The listener cannot accept, for example because no file descriptor is left.
            Err(error) => {
                if last_report.is_none_or(|last_report| last_report.elapsed() >= ACCEPT_REPORT_INTERVAL) {
                    last_report = Some(Instant::now());
                    tracing::error!(error = error.to_string(), "cannot accept connections; trying again");
                }
                let backoff = if table.evict_one() { EVICTED_ACCEPT_BACKOFF } else { ACCEPT_BACKOFF };
                sleep(backoff).await;
            }
        }
    }
}

/// Returns whether the error is about a single connection and not about the listener.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl ConnectionService {
    /// Serves one connection until it ends or must be closed. `watcher` tells the connection to end at a shutdown.
    async fn serve(
        self,
        socket: TcpStream,
        peer: SocketAddr,
        admitted: AdmittedConnection,
        watcher: Watcher,
    ) {
        let Self { http, app, builder, write_timeout, queue_timeout, unsent } = self;
        let AdmittedConnection { handle, close } = admitted;
        // Counts the connection as open until this function returns.
        let _open_connection = app.metrics.connections.count_connection();
        // This option sends small responses immediately. If setting it fails, the connection is dead, and the next read
        // reports the error.
        let _ = socket.set_nodelay(true);
        let (socket, watch) = SharedSocket::new(socket);
        let mut timeout_stream = TimeoutStream::new(socket);
        // A client that does not read its response is disconnected.
        timeout_stream.set_write_timeout(Some(write_timeout));
        let state = Arc::new(ConnectionState::new(unsent, Some(handle)));
        let stream = HeadErrorStream::new(Box::pin(timeout_stream), Arc::clone(&state), http::malformed_head);
        let service = service_fn({
            let state = Arc::clone(&state);
            // hyper calls this closure once for each request, in the order of the requests.
            move |request| {
                let guard = state.begin_request();
                let admission = state.admit_request(RequestKind::of(request.method(), request.uri().path()));
                let (request, mut context) =
                    http.prepare_request(request, peer.ip(), guard.has_fragment(), || state.begin_body());
                let (http, state) = (http.clone(), Arc::clone(&state));
                async move {
                    if !wait_for_admission(admission, &state, queue_timeout).await {
                        context.refuse_without_slot();
                    }
                    let mut response = http.respond(request, context).await;
                    if state.must_close() {
                        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(guard.attach_to(response))
                }
            }
        });
        let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
        let reason = tokio::select! {
            // Biased: `request_comments` must be polled before the connection. If a comment is requested, the
            // connection then polls the response body, and the body returns the comment.
            biased;
            _ = close => Some("closed to make room for another connection".to_owned()),
            () = watch.wait_for_reset() => Some("reset by the client".to_owned()),
            // `request_comments` never returns.
            () = request_comments(&watch, &state) => None,
            // The end of a connection without an error is not logged.
            result = connection => result.err().map(|error| error.to_string()),
        };
        watch.forget();
        if let Some(reason) = reason {
            tracing::debug!(error = reason, "connection ended");
        }
    }
}

/// Waits until a request is admitted or refused. Returns whether the request is admitted.
async fn wait_for_admission(
    admission: RequestAdmission,
    state: &ConnectionState,
    queue_timeout: Duration,
) -> bool {
    let mut decision = match admission {
        RequestAdmission::Served => return true,
        RequestAdmission::Refused => return false,
        RequestAdmission::Queued(decision) => decision,
    };
    let final_decision = async {
        loop {
            match timeout(QUEUE_CHECK_INTERVAL, &mut decision).await {
                // If the connection was evicted, its sender was dropped, and `decision` is an error.
                Ok(decision) => return decision == Ok(QueueDecision::Serve),
                // The interval has passed without a decision.
                Err(_) => state.retry_queue(),
            }
        }
    };
    match timeout(queue_timeout, final_decision).await {
        Ok(is_served) => is_served,
        // The request may have got its slot at the last moment. In this case `cancel_wait` returns true.
        Err(_) => state.cancel_wait(),
    }
}

/// Makes an event stream write a comment at intervals after its client has closed its half of the connection. Such a
/// client may be gone, and only a write shows whether the client still exists. Never returns.
async fn request_comments(socket: &SocketWatch, state: &ConnectionState) {
    state.wait_for_stream().await;
    socket.wait_for_half_close().await;
    loop {
        state.request_comment();
        sleep(HALF_CLOSED_COMMENT_INTERVAL).await;
    }
}
