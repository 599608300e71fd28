//! Limits and timeouts of a server: [`ServerSettings`]. This module must never know where the values
//! come from.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ip_network::IpNetwork;

/// Settings of a [`Server`](crate::Server) and of a [`router`](crate::router).
///
/// The defaults are those of the keys `server.*` in `docs/protocol/config.md`. A mounted router uses `allowed_origins`,
/// `trusted_proxies`, `max_requests_per_user` and `max_requests_per_tenant`. For the bodies of control requests, it
/// also uses `body_timeout`. Most other settings are about connections, which the application accepts itself if it
/// mounts the router.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// The address to listen on.
    pub bind_addr: SocketAddr,
    /// How long the requests in flight may take to end after a shutdown has begun.
    pub shutdown_grace_period: Duration,
    /// Origins whose pages may read responses in a browser, such as `https://console.example`. They are compared
    /// exactly.
    pub allowed_origins: Vec<String>,
    /// The networks of the trusted proxies. If a connection comes from one of them, `X-Forwarded-For` or `Forwarded`
    /// names the client in the access log. An application that mounts the router provides the address of the connection
    /// as `ConnectInfo<SocketAddr>`.
    pub trusted_proxies: Vec<IpNetwork>,
    /// How long a client may take to send the head of a request, and how long an idle connection may wait for the next
    /// request.
    pub header_timeout: Duration,
    /// How long the body of a request or of a response may make no progress.
    pub body_timeout: Duration,
    /// The maximum number of regular connections. Connections in the reserve are not counted: see
    /// `reserved_connections`.
    pub max_connections: usize,
    /// The maximum number of connections in the reserve, in addition to `max_connections`. A new connection enters the
    /// reserve if there are `max_connections` regular connections and none of them can be closed. In the reserve, a
    /// probe is answered, and any other request waits until a regular connection is free.
    pub reserved_connections: usize,
    /// The maximum number of connections of one client address. `None`: one client may have all connections.
    pub max_connections_per_client: Option<usize>,
    /// How long a request on a connection in the reserve may wait for a regular connection.
    pub queue_timeout: Duration,
    /// The maximum numbers of open event streams. This crate does not apply them: pass the same numbers to the resolver
    /// in its `ResolverOptions`.
    pub event_streams: EventStreamSettings,
    /// The maximum number of requests of one user that are in progress at once. Event streams are not counted. Default:
    /// 512, half of the default of `max_connections`.
    pub max_requests_per_user: usize,
    /// The maximum number of requests of one tenant that are in progress at once. Event streams are not counted.
    /// Default: 768, three quarters of the default of `max_connections`.
    pub max_requests_per_tenant: usize,
}

/// The maximum numbers of open event streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventStreamSettings {
    /// For one session.
    pub per_session: usize,
    /// For one user.
    pub per_user: usize,
    /// For one tenant.
    pub per_tenant: usize,
    /// For all tenants together. At most `max_connections`, because each event stream takes a connection. Default: 512,
    /// half of the default of `max_connections`.
    pub in_all: usize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            bind_addr: ([127, 0, 0, 1], 18_080).into(),
            shutdown_grace_period: Duration::from_secs(10),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            max_connections: 1024,
            reserved_connections: 64,
            max_connections_per_client: None,
            queue_timeout: Duration::from_secs(10),
            event_streams: EventStreamSettings::default(),
            max_requests_per_user: 512,
            max_requests_per_tenant: 768,
        }
    }
}

impl Default for EventStreamSettings {
    fn default() -> Self {
        Self { per_session: 16, per_user: 64, per_tenant: 256, in_all: 512 }
    }
}
