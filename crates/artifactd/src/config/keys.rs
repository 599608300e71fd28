//! [`KEYS`]: the table of every key of the configuration, with its kind, default and meaning. The table is used to read
//! files, variables and the command line, for error messages and for the documentation. This module must never know a
//! value that is set.

use std::ops::RangeInclusive;

/// The type of a key's value.
#[derive(Debug, Clone)]
pub enum ValueKind {
    /// A string that is not empty.
    Text,
    /// An IP address and a port.
    Address,
    /// A number of bytes in this range.
    Size(RangeInclusive<u64>),
    /// A duration. The range is in milliseconds.
    Duration(RangeInclusive<u64>),
    /// An integer in this range.
    Count(RangeInclusive<u64>),
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of signature algorithms.
    Algorithms,
    /// A list of token types (`typ`).
    TokenTypes,
    /// The URL of a JWK set.
    JwksUrl,
    /// A list of web origins.
    Origins,
    /// A list of networks in CIDR notation, or of addresses.
    Networks,
    /// A section whose keys are options of the driver.
    Options,
    /// A key of the protocol that this server does not support. The text says what to use instead.
    Unsupported(&'static str),
}

impl ValueKind {
    /// A description of the legal values, for error messages.
    pub fn expected(&self) -> String {
        match self {
            Self::Text => "a text that is not empty, without control characters".into(),
            Self::Address => "an address and a port such as 127.0.0.1:18080, [::1]:18080, localhost:18080 or :18080 (all IPv4 addresses)".into(),
            Self::Size(range) => format!(
                "a size in bytes such as 4096, 64KiB or 4M, from {} to {}",
                format_size(*range.start()),
                format_size(*range.end())
            ),
            Self::Duration(range) => format!(
                "a duration such as 250ms, 10s or 15m, from {} to {}",
                format_duration(*range.start()),
                format_duration(*range.end())
            ),
            Self::Count(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Boolean => "true or false".into(),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::Algorithms => "a list of some of RS256, RS384, RS512, ES256, ES384, ES512".into(),
            Self::TokenTypes => artifact_store_identity::LEGAL_TYPES.into(),
            Self::JwksUrl => artifact_store_identity::LEGAL_URL.into(),
            Self::Origins => {
                "a list of exact origins such as https://console.example or http://127.0.0.1:3000: \
                 http or https, lower case, no path, no default port, no *"
                    .into()
            }
            Self::Networks => {
                "a list of networks such as 10.0.0.0/8 or fd00::/8 without bits beyond the prefix, or of addresses".into()
            }
            Self::Options => "a section of the driver's own options".into(),
            Self::Unsupported(_) => "nothing".into(),
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Key {
    /// The dotted name.
    pub name: &'static str,
    /// The type of the key's value.
    pub kind: ValueKind,
    /// The value if the key is not set, as a user would write it. `None` if the key then has no value.
    pub default: Option<&'static str>,
    /// The meaning, in one sentence.
    pub about: &'static str,
    /// Whether the value must never be printed.
    pub secret: bool,
}

impl Key {
    const fn new(
        name: &'static str,
        kind: ValueKind,
        default: Option<&'static str>,
        about: &'static str,
    ) -> Self {
        Self { name, kind, default, about, secret: false }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// One hour in milliseconds.
const HOUR: u64 = 3_600_000;
/// One tebibyte in bytes.
const TIB: u64 = 1 << 40;
/// The largest limit of `artifacts.get` that can be set. The server keeps the bytes of a response in memory, and base64
/// makes them a third longer.
const MAX_FETCH_BYTES: u64 = 64 << 20;

/// The section whose keys are options of the driver.
pub const OPTIONS: &str = "artifacts.options";

/// All keys, ordered by section.
pub const KEYS: &[Key] = &[
    Key::new("server.bind_addr", ValueKind::Address, Some("127.0.0.1:18080"), "Where to listen."),
    Key::new(
        "server.shutdown_grace_period",
        ValueKind::Duration(0..=HOUR),
        Some("10s"),
        "How long requests in flight may take to finish once the server is told to stop.",
    ),
    Key::new(
        "server.allowed_origins",
        ValueKind::Origins,
        None,
        "The web origins whose pages may call the server (CORS); unset: none.",
    ),
    Key::new(
        "server.trusted_proxies",
        ValueKind::Networks,
        None,
        "The networks of the proxies before the server. If a connection comes from one of them, X-Forwarded-For or Forwarded \
         names the client in the access log: from the right, the first address that is not in this list. Unset: none; the client \
         is always the address of the connection.",
    ),
    Key::new(
        "server.header_timeout",
        ValueKind::Duration(100..=HOUR),
        Some("10s"),
        "How long a client may take to send the head of a request, and how long an idle connection may wait for the next request.",
    ),
    Key::new(
        "server.body_timeout",
        ValueKind::Duration(100..=HOUR),
        Some("30s"),
        "How long a body may make no progress, in either direction.",
    ),
    Key::new(
        "server.max_connections",
        ValueKind::Count(1..=1_000_000),
        Some("1024"),
        "How many connections are served at once. Above this number, a connection without a request is closed for a new \
         connection. If all connections serve requests, new connections wait in the reserve (server.reserved_connections).",
    ),
    Key::new(
        "server.reserved_connections",
        ValueKind::Count(1..=10_000),
        Some("64"),
        "How many connections there may be in addition to server.max_connections. On them, probes are answered, and other requests \
         wait for a regular connection.",
    ),
    Key::new(
        "server.max_connections_per_client",
        ValueKind::Count(1..=1_000_000),
        None,
        "How many connections one client address (for IPv6: one /64 network) may have; unset: no limit of its own. Behind a proxy \
         all clients have one address: leave this key unset, and set a limit in the proxy.",
    ),
    Key::new(
        "server.queue_timeout",
        ValueKind::Duration(100..=HOUR),
        Some("10s"),
        "How long a request may wait if all connections are taken. After that, the response is 429.",
    ),
    Key::new(
        "server.max_requests_per_user",
        ValueKind::Count(1..=1_000_000),
        None,
        "How many requests of one user are served at once, without event streams; the response to a further one is 429. Unset: half \
         of server.max_connections.",
    ),
    Key::new(
        "server.max_requests_per_tenant",
        ValueKind::Count(1..=1_000_000),
        None,
        "How many requests of one tenant are served at once, without event streams; the response to a further one is 429. Unset: \
         three quarters of server.max_connections.",
    ),
    Key::new(
        "server.max_event_streams",
        ValueKind::Count(1..=1_000_000),
        None,
        "How many event streams there may be at once, of all tenants together. Each takes a connection, so this is at most \
         server.max_connections. Unset: half of server.max_connections.",
    ),
    Key::new(
        "server.max_event_streams_per_session",
        ValueKind::Count(1..=1_000_000),
        Some("16"),
        "How many event streams a session may have at once.",
    ),
    Key::new(
        "server.max_event_streams_per_user",
        ValueKind::Count(1..=1_000_000),
        Some("64"),
        "How many event streams a user may have at once, in all its sessions.",
    ),
    Key::new(
        "server.max_event_streams_per_tenant",
        ValueKind::Count(1..=1_000_000),
        Some("256"),
        "How many event streams a tenant may have at once, of all its users.",
    ),
    Key::new(
        "identity.jwks_file",
        ValueKind::Text,
        None,
        "The file with the public keys (JWK set) that tokens are verified with; serve needs this or identity.jwks_url. A changed \
         file is loaded within a second. A relative path starts at the working directory.",
    ),
    Key::new(
        "identity.jwks_url",
        ValueKind::JwksUrl,
        None,
        "The URL that the public keys (JWK set) are fetched from, instead of identity.jwks_file, at the start and then at \
         intervals. The query of the URL is never printed.",
    )
    .secret(),
    Key::new(
        "identity.jwks_refresh_interval",
        ValueKind::Duration(100..=HOUR),
        Some("5m"),
        "How often the keys of identity.jwks_url are fetched again. A shorter max-age of the response shortens this time.",
    ),
    Key::new(
        "identity.jwks_refresh_min_interval",
        ValueKind::Duration(100..=HOUR),
        Some("10s"),
        "The minimum time between two attempts to fetch keys, however many tokens name an unknown key.",
    ),
    Key::new("identity.issuer", ValueKind::Text, None, "The exact iss that a token must have; unset: not checked."),
    Key::new(
        "identity.audience",
        ValueKind::Text,
        None,
        "The exact aud that a token must have, alone or in a list; unset: not checked.",
    ),
    Key::new(
        "identity.jwt_algorithms",
        ValueKind::Algorithms,
        Some("RS256,RS384,RS512,ES256,ES384,ES512"),
        "The signature algorithms that tokens may have.",
    ),
    Key::new(
        "identity.jwt_types",
        ValueKind::TokenTypes,
        None,
        "Types of tokens (typ) that are accepted in addition to JWT, at+jwt, application/at+jwt and an absent type.",
    ),
    Key::new(
        "identity.session_bound",
        ValueKind::Boolean,
        Some("false"),
        "Whether a request is bound to the claim session of its token. If true, a token without this claim is refused, and so is a \
         request that names another session. If false, the claim is a default, and X-Harbor-Session may name any session of the same \
         user.",
    ),
    Key::new(
        "identity.clock_skew",
        ValueKind::Duration(0..=HOUR),
        Some("60s"),
        "How far the clocks of issuer and server may differ.",
    ),
    Key::new(
        "artifacts.driver",
        ValueKind::Text,
        None,
        "Where artifacts are kept: azure, fs, gcs, inmem, postgres, s3 or sqlite; serve needs it. inmem keeps them in the \
         server's memory and loses them when the server ends.",
    ),
    Key::new(
        "artifacts.fs_root",
        ValueKind::Text,
        None,
        "The store's directory; needed by the driver fs. A relative path starts at the working directory.",
    ),
    Key::new(
        "artifacts.dsn",
        ValueKind::Text,
        None,
        "The database; needed by the driver sqlite: a file path, or ':memory:' (a relative path starts at the working \
         directory); and by the driver postgres: a URL such as postgres://user:password@host:5432/name.",
    )
    .secret(),
    Key::new(
        "artifacts.s3_bucket",
        ValueKind::Text,
        None,
        "The bucket, which must exist; needed by the driver s3.",
    ),
    Key::new(
        "artifacts.s3_endpoint",
        ValueKind::Text,
        None,
        "The address of an S3-compatible server, such as http://127.0.0.1:3900; unset: AWS.",
    ),
    Key::new("artifacts.s3_region", ValueKind::Text, Some("us-east-1"), "The bucket's region."),
    Key::new(
        "artifacts.s3_prefix",
        ValueKind::Text,
        None,
        "The prefix of every key of the store, so that several stores can share one bucket; unset: none.",
    ),
    Key::new(
        "artifacts.s3_access_key_id",
        ValueKind::Text,
        None,
        "The id of the access key; unset: the default chain of AWS clients (environment, profile, container, machine).",
    ),
    Key::new(
        "artifacts.s3_secret_access_key",
        ValueKind::Text,
        None,
        "The access key's secret; must be set together with artifacts.s3_access_key_id.",
    )
    .secret(),
    Key::new(
        "artifacts.s3_use_path_style",
        ValueKind::Boolean,
        Some("false"),
        "Whether the bucket is in the path of a request and not in its host; servers other than AWS often need this.",
    ),
    Key::new(
        OPTIONS,
        ValueKind::Options,
        None,
        "A section with the driver's own options, such as 'sync: never' for fs; 'artifactd drivers' lists them.",
    ),
    Key::new(
        "artifacts.verify_reads",
        ValueKind::OneOf(&["always", "never"]),
        Some("always"),
        "Whether reads are compared with the hash in the record: whole artifacts, and on fs ranges, too.",
    ),
    Key::new(
        "artifacts.cursor_secret",
        ValueKind::Text,
        None,
        "A secret of at least 16 bytes, shared by servers that must accept each other's list cursors; unset: a cursor is valid \
         until the process ends.",
    )
    .secret(),
    Key::new(
        "artifacts.sweep_interval",
        ValueKind::Duration(0..=720 * HOUR),
        Some("24h"),
        "How often a server removes what killed processes have left in the store; 0s: never. The first sweep is 1 to 10 minutes \
         after the start, and within the interval.",
    ),
    Key::new(
        "artifacts.fetch_default_max_bytes",
        ValueKind::Size(1..=MAX_FETCH_BYTES),
        Some("65536"),
        "How many bytes artifacts.get returns at most if the request does not set max_bytes.",
    ),
    Key::new(
        "artifacts.fetch_hard_max_bytes",
        ValueKind::Size(1..=MAX_FETCH_BYTES),
        Some("1048576"),
        "How many bytes artifacts.get returns at most.",
    ),
    Key::new(
        "artifacts.heavy_output_threshold_bytes",
        ValueKind::Size(0..=TIB),
        Some("32768"),
        "The size from which a runtime passes its outputs through the store.",
    ),
    Key::new(
        "protocol.max_request_bytes",
        ValueKind::Size(1..=TIB),
        None,
        "The largest artifact that is taken, in bytes of its own, by artifacts.put and by uploads. Unset: 4194304 (4 MiB) for \
         artifacts.put, and for uploads protocol.max_upload_bytes.",
    ),
    Key::new(
        "protocol.max_upload_bytes",
        ValueKind::Size(1..=TIB),
        None,
        "The largest artifact that an upload (PUT /v1/artifacts) may have; at most protocol.max_request_bytes if that is set. \
         Unset: protocol.max_request_bytes if that is set, otherwise 1073741824 (1 GiB).",
    ),
    Key::new("telemetry.log_format", ValueKind::OneOf(&["json", "text"]), Some("json"), "How log lines are written."),
    Key::new(
        "telemetry.log_level",
        ValueKind::OneOf(&["error", "warn", "info", "debug", "trace"]),
        Some("info"),
        "The lowest level of the lines that are logged. A server applies a change at SIGHUP.",
    ),
    Key::new(
        "telemetry.otel_endpoint",
        ValueKind::Unsupported("this version exports no traces; collect the log instead"),
        None,
        "Not supported in this version; collect the log instead.",
    ),
    Key::new(
        "telemetry.service_name",
        ValueKind::Text,
        None,
        "The display_name that runtime.info returns; unset: none.",
    ),
];

/// The row of the key `name`. `None` if there is no such key.
pub(super) fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The size with the largest unit that divides it, as a user would write it.
fn format_size(bytes: u64) -> String {
    // The number beside each unit is its exponent: 1 KiB is 2^10 bytes.
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    unit.map_or_else(|| bytes.to_string(), |(bits, unit)| format!("{}{unit}", bytes >> bits))
}

/// The duration as a user would write it: whole hours in hours, other durations in milliseconds.
fn format_duration(millis: u64) -> String {
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(HOUR) => format!("{}h", millis / HOUR),
        _ => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_hours_are_written_in_hours() {
        let durations = [0, 100, HOUR, 720 * HOUR, HOUR + 1].map(format_duration);
        assert_eq!(durations, ["0s", "100ms", "1h", "720h", "3600001ms"]);
    }
}
