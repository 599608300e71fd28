//! The table of options that configurations are read by.

use artifact_store_core::{OptionKind, OptionSpec};

const fn option(
    name: &'static str,
    kind: OptionKind,
    default: Option<&'static str>,
    about: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, about }
}

pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "bucket",
        kind: OptionKind::Text,
        default: None,
        required: true,
        about: "The bucket, which must be there.",
    },
    option(
        "prefix",
        OptionKind::Text,
        None,
        "What every key starts with, so that several stores fit into one bucket; at most 256 bytes.",
    ),
    option(
        "endpoint",
        OptionKind::Text,
        None,
        "The address of a store that speaks the protocol, such as http://127.0.0.1:3900; unset: AWS.",
    ),
    option("region", OptionKind::Text, Some("us-east-1"), "The bucket's region."),
    option(
        "path_style",
        OptionKind::Switch,
        Some("false"),
        "Whether the bucket stands in the path of a request and not in its host; stores other than AWS often need it.",
    ),
    option(
        "access_key_id",
        OptionKind::Text,
        None,
        "The key's id; unset: the default chain (environment, profile, container, machine).",
    ),
    option("secret_access_key", OptionKind::Text, None, "The key's secret; comes with access_key_id."),
    option("session_token", OptionKind::Text, None, "The token of temporary keys."),
    option(
        "presign_endpoint",
        OptionKind::Text,
        None,
        "The address that presigned URLs name, where outsiders reach the store at another one.",
    ),
    option(
        "allow_http",
        OptionKind::Switch,
        Some("false"),
        "Whether plain http is taken beyond the loopback interface.",
    ),
    option(
        "conditional_create",
        OptionKind::Word(&["probe", "yes", "no"]),
        Some("probe"),
        "Whether the store honours If-None-Match on a put; 'probe' asks it once and records the answer.",
    ),
    option("presign_put", OptionKind::Switch, Some("true"), "Whether uploads may be presigned."),
    option(
        "part_size",
        OptionKind::Size,
        Some("8MiB"),
        "The size of a part of a long upload, 5MiB to 64MiB; an upload has at most 10000 parts.",
    ),
    option(
        "part_concurrency",
        OptionKind::Count,
        Some("2"),
        "How many parts of one upload are under way at once, 1 to 16.",
    ),
    option(
        "list_concurrency",
        OptionKind::Count,
        Some("32"),
        "How many records of a listing are read at once, 1 to 256.",
    ),
    option(
        "max_scan",
        OptionKind::Count,
        Some("10000"),
        "How many keys one listing looks at before it asks to narrow the scope.",
    ),
    option("connect_timeout", OptionKind::Duration, Some("3s"), "How long to wait for a connection."),
    option(
        "request_timeout",
        OptionKind::Duration,
        Some("30s"),
        "How long one request may take to be answered, and a body may stand still.",
    ),
    option(
        "max_attempts",
        OptionKind::Count,
        Some("3"),
        "How often a request that may be repeated is sent at most.",
    ),
    option(
        "upload_ttl",
        OptionKind::Duration,
        Some("24h"),
        "After how long without an end an upload counts as abandoned, and a sweep removes it.",
    ),
    option(
        "max_artifact_bytes",
        OptionKind::Size,
        None,
        "The largest artifact that is taken; at most 10000 parts, and 5TiB.",
    ),
];
