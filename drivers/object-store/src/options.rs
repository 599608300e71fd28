//! The options of the drivers gcs and azure: the tables.
//!
//! This module must never know an option's value, and must never send a request.

mod tuning;

use artifact_store_core::{OptionKind, OptionSpec};

pub(crate) use tuning::{Tuning, tuning_setters};

/// An option that may be omitted. `about` describes it for operators.
const fn option(
    name: &'static str,
    kind: OptionKind,
    default: Option<&'static str>,
    about: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, about }
}

/// An option that must be set.
const fn required(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec { name, kind: OptionKind::Text, default: None, required: true, about }
}

const PREFIX: OptionSpec = option(
    "prefix",
    OptionKind::Text,
    None,
    "The prefix of every key, so that several stores fit into one place; at most 256 bytes.",
);
const ALLOW_HTTP: OptionSpec = option(
    "allow_http",
    OptionKind::Bool,
    Some("false"),
    "Whether plain http is allowed beyond the loopback interface.",
);
const CONDITIONAL_CREATE: OptionSpec = option(
    "conditional_create",
    OptionKind::Choice(&["probe", "yes", "no"]),
    Some("probe"),
    "Whether the storage refuses to create an object that exists; 'probe' tests it.",
);
const PART_SIZE: OptionSpec = option(
    "part_size",
    OptionKind::Size,
    Some("8MiB"),
    "The size of a part of a long upload, 5MiB to 64MiB; an upload has at most 10000 parts.",
);
const PART_CONCURRENCY: OptionSpec = option(
    "part_concurrency",
    OptionKind::Count,
    Some("2"),
    "How many parts of one upload are sent at once, 1 to 16.",
);
const LIST_CONCURRENCY: OptionSpec = option(
    "list_concurrency",
    OptionKind::Count,
    Some("32"),
    "How many records of a listing are read at once, 1 to 256.",
);
const MAX_SCAN: OptionSpec = option(
    "max_scan",
    OptionKind::Count,
    Some("10000"),
    "The maximum number of records that one listing reads. A listing of more records is refused.",
);
const CONNECT_TIMEOUT: OptionSpec =
    option("connect_timeout", OptionKind::Duration, Some("3s"), "How long to wait for a connection.");
const REQUEST_TIMEOUT: OptionSpec = option(
    "request_timeout",
    OptionKind::Duration,
    Some("30s"),
    "How long to wait for the response to a request, and for each chunk of a body.",
);
const MAX_ATTEMPTS: OptionSpec = option(
    "max_attempts",
    OptionKind::Count,
    Some("3"),
    "The maximum number of times that a request is sent if it can be repeated, 1 to 20.",
);
const RETRY_TIMEOUT: OptionSpec = option(
    "retry_timeout",
    OptionKind::Duration,
    Some("1m"),
    "How long after its first attempt a request may be sent again, at most 4m.",
);
const UPLOAD_TTL: OptionSpec = option(
    "upload_ttl",
    OptionKind::Duration,
    Some("24h"),
    "After how long an unfinished upload counts as an orphan, which a sweep deletes.",
);
const MAX_ARTIFACT_BYTES: OptionSpec = option(
    "max_artifact_bytes",
    OptionKind::Size,
    None,
    "The size limit of an artifact; at most 10000 parts, and 5TiB.",
);

/// The options of the driver gcs.
#[cfg(feature = "gcs")]
pub(crate) const GCS_OPTIONS: &[OptionSpec] = &[
    required("bucket", "The bucket, which must exist."),
    PREFIX,
    option(
        "endpoint",
        OptionKind::Text,
        None,
        "The address of an emulator or a private endpoint, such as http://127.0.0.1:4443; unset: Google.",
    ),
    ALLOW_HTTP,
    option(
        "credentials_file",
        OptionKind::Text,
        None,
        "The JSON file with the key of a service account, or with a user's credentials of gcloud; unset: \
         GOOGLE_APPLICATION_CREDENTIALS, the file of gcloud, then the metadata service of the machine.",
    ),
    option(
        "service_account_key",
        OptionKind::Text,
        None,
        "The key of a service account as JSON, instead of a file.",
    ),
    option(
        "anonymous",
        OptionKind::Bool,
        Some("false"),
        "Whether requests have no credentials, for an emulator.",
    ),
    option(
        "presign",
        OptionKind::Choice(&["key", "iam", "no"]),
        Some("key"),
        "What signs the URLs of downloads: the key of the service account, the service IAM, or nothing.",
    ),
    CONDITIONAL_CREATE,
    PART_SIZE,
    PART_CONCURRENCY,
    LIST_CONCURRENCY,
    MAX_SCAN,
    CONNECT_TIMEOUT,
    REQUEST_TIMEOUT,
    MAX_ATTEMPTS,
    RETRY_TIMEOUT,
    UPLOAD_TTL,
    MAX_ARTIFACT_BYTES,
];

/// The options of the driver azure.
#[cfg(feature = "azure")]
pub(crate) const AZURE_OPTIONS: &[OptionSpec] = &[
    required("container", "The container, which must exist."),
    PREFIX,
    required("account", "The storage account."),
    option(
        "endpoint",
        OptionKind::Text,
        None,
        "The address of the account at an emulator or another cloud, such as \
         http://127.0.0.1:10000/devstoreaccount1; unset: https://ACCOUNT.blob.core.windows.net.",
    ),
    ALLOW_HTTP,
    option("access_key", OptionKind::Text, None, "An access key of the account, in base64."),
    option("access_key_file", OptionKind::Text, None, "The file with the access key, instead of the key."),
    option(
        "sas_token",
        OptionKind::Text,
        None,
        "A shared access signature for the container, as the portal shows it.",
    ),
    option("tenant_id", OptionKind::Text, None, "The tenant of an application in Microsoft Entra."),
    option(
        "client_id",
        OptionKind::Text,
        None,
        "The id of an application in Microsoft Entra, or of the managed identity if the machine has several.",
    ),
    option(
        "client_secret",
        OptionKind::Text,
        None,
        "The secret of the application; needs tenant_id and client_id.",
    ),
    option(
        "federated_token_file",
        OptionKind::Text,
        None,
        "The file with the token of a workload identity; needs tenant_id and client_id. Without any credentials: \
         the workload identity in the environment, then the managed identity of the machine.",
    ),
    option(
        "authority_host",
        OptionKind::Text,
        None,
        "The address that issues tokens, such as https://login.microsoftonline.us; unset: \
         AZURE_AUTHORITY_HOST, else the public cloud.",
    ),
    option(
        "presign",
        OptionKind::Choice(&["key", "delegation", "no"]),
        Some("no"),
        "What signs the URLs of downloads: the access key, a user delegation key, or nothing. Azure answers HEAD, too.",
    ),
    CONDITIONAL_CREATE,
    PART_SIZE,
    PART_CONCURRENCY,
    LIST_CONCURRENCY,
    MAX_SCAN,
    CONNECT_TIMEOUT,
    REQUEST_TIMEOUT,
    MAX_ATTEMPTS,
    RETRY_TIMEOUT,
    UPLOAD_TTL,
    MAX_ARTIFACT_BYTES,
];

#[cfg(test)]
mod tests;
