//! Every key of the configuration as one table: what is legal, what is the default, what it means. Files, environment, flags,
//! error texts and the documentation read it.

use std::ops::RangeInclusive;

/// What a key's value is, and so how it is written.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A text.
    Text,
    /// An IP address and a port.
    Address,
    /// A number of bytes within bounds.
    Size(RangeInclusive<u64>),
    /// A span of time within bounds, in milliseconds.
    Duration(RangeInclusive<u64>),
    /// A whole number within bounds.
    Count(RangeInclusive<u64>),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of signature algorithms.
    Algorithms,
    /// A list of types of tokens.
    TokenTypes,
    /// The URL of a JWK set.
    JwksUrl,
    /// A list of web origins.
    Origins,
    /// A section whose keys are the driver's own.
    Options,
    /// Known to the protocol and refused here: the sentence says what to use.
    Absent(&'static str),
}

impl Kind {
    /// What is legal, for people.
    pub fn legal(&self) -> String {
        match self {
            Self::Text => "a text that is not empty, without control characters".into(),
            Self::Address => "an IP address and a port such as 127.0.0.1:18080 or [::1]:18080".into(),
            Self::Size(range) => format!(
                "a size in bytes such as 4096, 64KiB or 4MiB, from {} to {}",
                size(*range.start()),
                size(*range.end())
            ),
            Self::Duration(range) => format!(
                "a duration such as 250ms, 10s or 15m, from {} to {}",
                duration(*range.start()),
                duration(*range.end())
            ),
            Self::Count(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Switch => "true or false".into(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Algorithms => "a list of some of RS256, RS384, RS512, ES256, ES384, ES512".into(),
            Self::TokenTypes => crate::identity::LEGAL_TYPES.into(),
            Self::JwksUrl => crate::identity::LEGAL_URL.into(),
            Self::Origins => {
                "a list of exact origins such as https://console.example or http://127.0.0.1:3000: \
                              http or https, lower case, no path, no default port, no *"
                    .into()
            }
            Self::Options => "a section of the driver's own options".into(),
            Self::Absent(_) => "nothing".into(),
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Key {
    /// The dotted name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Its value where none is given, written as a user would; `None`: it stays unset.
    pub default: Option<&'static str>,
    /// What it means, in one sentence.
    pub about: &'static str,
    /// Whether its value is never printed.
    pub secret: bool,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, default: Option<&'static str>, about: &'static str) -> Self {
        Self { name, kind, default, about, secret: false }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

const HOUR: u64 = 3_600_000;
const TIB: u64 = 1 << 40;
/// Largest window of artifacts.get that can be configured: it is held in memory, and a third more as base64.
const MAX_FETCH: u64 = 64 << 20;

/// The section whose keys are the driver's own.
pub const OPTIONS: &str = "artifacts.options";

/// All keys, section by section.
pub const KEYS: &[Key] = &[
    Key::new("server.bind_addr", Kind::Address, Some("127.0.0.1:18080"), "Where to listen."),
    Key::new(
        "server.shutdown_grace_period",
        Kind::Duration(0..=HOUR),
        Some("10s"),
        "How long requests in flight may take to finish once the server is told to stop.",
    ),
    Key::new(
        "server.allowed_origins",
        Kind::Origins,
        None,
        "The web origins whose pages may call the server (CORS); unset: none.",
    ),
    Key::new(
        "server.header_timeout",
        Kind::Duration(100..=HOUR),
        Some("10s"),
        "How long a client may take to send a request's head, and an idle connection may wait for the next one.",
    ),
    Key::new(
        "server.body_timeout",
        Kind::Duration(100..=HOUR),
        Some("30s"),
        "How long a body may stand still, in either direction.",
    ),
    Key::new(
        "server.max_connections",
        Kind::Count(1..=1_000_000),
        Some("1024"),
        "How many connections are served at once. Past it one that sends no request goes for a newcomer, and where all serve, \
         newcomers wait in the reserve.",
    ),
    Key::new(
        "server.reserved_connections",
        Kind::Count(1..=10_000),
        Some("64"),
        "How many connections there may be beyond server.max_connections: on them probes are answered, and other requests wait \
         for a place.",
    ),
    Key::new(
        "server.max_connections_per_client",
        Kind::Count(1..=1_000_000),
        None,
        "How many connections one client address (of IPv6: one /64 network) may have; unset: as many as there are. Behind a proxy \
         all come from one address: leave it unset, and set the bound in the proxy.",
    ),
    Key::new(
        "server.queue_timeout",
        Kind::Duration(100..=HOUR),
        Some("10s"),
        "How long a request may wait where all connections are taken; then it is answered 429.",
    ),
    Key::new(
        "server.max_requests_per_user",
        Kind::Count(1..=1_000_000),
        None,
        "How many requests of one user are served at once, event streams aside; further ones are answered 429. Unset: half of \
         server.max_connections.",
    ),
    Key::new(
        "server.max_requests_per_tenant",
        Kind::Count(1..=1_000_000),
        None,
        "The same of one tenant. Unset: three quarters of server.max_connections.",
    ),
    Key::new(
        "server.max_event_streams",
        Kind::Count(1..=1_000_000),
        None,
        "How many event streams there may be at once, of all tenants: at most server.max_connections, each takes a connection. \
         Unset: half of server.max_connections.",
    ),
    Key::new(
        "server.max_event_streams_per_session",
        Kind::Count(1..=1_000_000),
        Some("16"),
        "How many event streams a session may have at once.",
    ),
    Key::new(
        "server.max_event_streams_per_user",
        Kind::Count(1..=1_000_000),
        Some("64"),
        "How many event streams a user may have at once, in all its sessions.",
    ),
    Key::new(
        "server.max_event_streams_per_tenant",
        Kind::Count(1..=1_000_000),
        Some("256"),
        "How many event streams a tenant may have at once, of all its users.",
    ),
    Key::new(
        "identity.jwks_file",
        Kind::Text,
        None,
        "The file with the public keys (JWK set) that tokens are verified with; serve needs this or identity.jwks_url. A file that \
         changes is taken over within a second. A relative path starts at the working directory.",
    ),
    Key::new(
        "identity.jwks_url",
        Kind::JwksUrl,
        None,
        "Where the public keys (JWK set) are fetched from instead, when the server starts and from then on; its query is never \
         printed.",
    )
    .secret(),
    Key::new(
        "identity.jwks_refresh_interval",
        Kind::Duration(100..=HOUR),
        Some("5m"),
        "How often the keys of identity.jwks_url are fetched again; a shorter max-age of the answer goes before it.",
    ),
    Key::new(
        "identity.jwks_refresh_min_interval",
        Kind::Duration(100..=HOUR),
        Some("10s"),
        "How much time lies between two attempts to fetch keys at least, however many tokens name an unknown key.",
    ),
    Key::new("identity.issuer", Kind::Text, None, "What a token's iss has to be, exactly; unset: not checked."),
    Key::new(
        "identity.audience",
        Kind::Text,
        None,
        "What a token's aud has to be, or to hold, exactly; unset: not checked.",
    ),
    Key::new(
        "identity.jwt_algorithms",
        Kind::Algorithms,
        Some("RS256,RS384,RS512,ES256,ES384,ES512"),
        "The signature algorithms that tokens may have.",
    ),
    Key::new(
        "identity.jwt_types",
        Kind::TokenTypes,
        None,
        "Types of tokens (typ) that are taken beside none at all, JWT, at+jwt and application/at+jwt.",
    ),
    Key::new(
        "identity.session_bound",
        Kind::Switch,
        Some("false"),
        "Whether a request is bound to its token's claim session: then a token without one is refused, and so is a request that \
         names another one. Otherwise the claim is a default, and X-Harbor-Session names any session of the same user.",
    ),
    Key::new(
        "identity.clock_skew",
        Kind::Duration(0..=HOUR),
        Some("60s"),
        "How far the clocks of issuer and server may be apart.",
    ),
    Key::new(
        "artifacts.driver",
        Kind::Text,
        None,
        "Where artifacts are kept: fs, inmem, postgres, s3 or sqlite; serve needs it. inmem keeps them in the server's memory and \
         forgets them at its end.",
    ),
    Key::new(
        "artifacts.fs_root",
        Kind::Text,
        None,
        "The store's directory; needed by the driver fs. A relative path starts at the working directory.",
    ),
    Key::new(
        "artifacts.dsn",
        Kind::Text,
        None,
        "The database; needed by the driver sqlite: a file path, or ':memory:' (a relative path starts at the working \
         directory); and by the driver postgres: a URL such as postgres://user:password@host:5432/name.",
    )
    .secret(),
    Key::new(
        "artifacts.s3_bucket",
        Kind::Text,
        None,
        "The bucket, which must be there; needed by the driver s3.",
    ),
    Key::new(
        "artifacts.s3_endpoint",
        Kind::Text,
        None,
        "The address of a store that speaks the protocol of S3, such as http://127.0.0.1:3900; unset: AWS.",
    ),
    Key::new("artifacts.s3_region", Kind::Text, Some("us-east-1"), "The bucket's region."),
    Key::new(
        "artifacts.s3_prefix",
        Kind::Text,
        None,
        "What every key of the store starts with, so that several stores fit into one bucket; unset: nothing.",
    ),
    Key::new(
        "artifacts.s3_access_key_id",
        Kind::Text,
        None,
        "The id of the access key; unset: the default chain of AWS clients (environment, profile, container, machine).",
    ),
    Key::new(
        "artifacts.s3_secret_access_key",
        Kind::Text,
        None,
        "The access key's secret; comes with artifacts.s3_access_key_id.",
    )
    .secret(),
    Key::new(
        "artifacts.s3_use_path_style",
        Kind::Switch,
        Some("false"),
        "Whether the bucket stands in the path of a request and not in its host; stores other than AWS often need it.",
    ),
    Key::new(
        OPTIONS,
        Kind::Options,
        None,
        "A section with the driver's own options, such as 'sync: never' for fs; 'artifactd drivers' lists them.",
    ),
    Key::new(
        "artifacts.verify_reads",
        Kind::Word(&["always", "never"]),
        Some("always"),
        "Whether whole reads are compared with their SHA-256.",
    ),
    Key::new(
        "artifacts.cursor_secret",
        Kind::Text,
        None,
        "A secret of at least 16 bytes, shared by servers that are to accept each other's list cursors; unset: cursors end with \
         the process.",
    )
    .secret(),
    Key::new(
        "artifacts.fetch_default_max_bytes",
        Kind::Size(1..=MAX_FETCH),
        Some("65536"),
        "How many bytes artifacts.get returns where a request does not say.",
    ),
    Key::new(
        "artifacts.fetch_hard_max_bytes",
        Kind::Size(1..=MAX_FETCH),
        Some("1048576"),
        "How many bytes artifacts.get returns at most.",
    ),
    Key::new(
        "artifacts.heavy_output_threshold_bytes",
        Kind::Size(0..=TIB),
        Some("32768"),
        "From which size on a runtime routes its outputs through the store.",
    ),
    Key::new(
        "protocol.max_request_bytes",
        Kind::Size(1..=TIB),
        Some("4194304"),
        "The largest artifact that is taken, in bytes of its own.",
    ),
    Key::new("telemetry.log_format", Kind::Word(&["json", "text"]), Some("json"), "How log lines are written."),
    Key::new(
        "telemetry.log_level",
        Kind::Word(&["error", "warn", "info", "debug", "trace"]),
        Some("info"),
        "The least grave lines that are logged; SIGHUP makes a server take it over.",
    ),
    Key::new(
        "telemetry.otel_endpoint",
        Kind::Absent("this version exports no traces; collect the log instead"),
        None,
        "Not in this version; collect the log.",
    ),
    Key::new(
        "telemetry.service_name",
        Kind::Text,
        None,
        "What runtime.info gives as display_name; unset: none.",
    ),
];

/// The row called `name`.
pub(super) fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.iter().find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    whole.map_or_else(|| bytes.to_string(), |(bits, unit)| format!("{}{unit}", bytes >> bits))
}

fn duration(millis: u64) -> String {
    match millis {
        0 => "0s".into(),
        HOUR => "1h".into(),
        _ => format!("{millis}ms"),
    }
}
