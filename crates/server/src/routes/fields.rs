//! The query parameters and headers that each route declares.

use artifact_store_core::Source;
use artifact_store_protocol::EventKind;

use super::request_field::{RequestField, ValueType};

/// The headers that every route with a token reads, in addition to the token.
pub(crate) const IDENTITY_HEADERS: &[RequestField] = &[
    RequestField::single(
        "x-harbor-session",
        ValueType::ScopePart,
        "The session; absent: the token's claim `session`.",
    ),
    RequestField::single(
        "x-harbor-tenant",
        ValueType::ScopePart,
        "If sent, it must be the token's claim `tenant`.",
    ),
    RequestField::single(
        "x-harbor-user",
        ValueType::ScopePart,
        "If sent, it must be the token's claim `user`.",
    ),
];

/// The query parameters of the event stream.
pub(crate) const EVENTS_QUERY: &[RequestField] = &[
    RequestField::single(
        "access_token",
        ValueType::Text,
        "The token, for browsers' `EventSource`, which cannot send headers. Used only if the header `authorization` is absent. Never logged.",
    ),
    RequestField::single(
        "admin",
        ValueType::OneOf(&["0", "1"]),
        "`1`: the events of all tenants. It needs the scope `admin` or `console:fleet`, and is audited.",
    ),
];

/// The headers of the event stream.
pub(crate) const EVENTS_HEADERS: &[RequestField] = &[
    RequestField::repeatable(
        "x-harbor-event-type",
        ValueType::OneOf(EVENT_KINDS),
        "The types of events to send; absent: all.",
    ),
    RequestField::single(
        "last-event-id",
        ValueType::Text,
        "The id of the last event that was received. The stream continues after it.",
    ),
];

/// The names of [`EventKind`].
const EVENT_KINDS: &[&str] = &[
    EventKind::ArtifactsUploaded.as_str(),
    EventKind::ArtifactsDeleted.as_str(),
    EventKind::AuditAdminScopeUsed.as_str(),
];

// This fails to compile if a new event kind is missing in `EVENT_KINDS`.
const _: () = assert!(EVENT_KINDS.len() == EventKind::ALL.len());

/// The query parameters of a download.
pub(crate) const DOWNLOAD_QUERY: &[RequestField] = &[
    RequestField::single("task", ValueType::ScopePart, "The task within the session; absent or empty: none."),
    RequestField::single(
        "disposition",
        ValueType::OneOf(&["attachment", "inline"]),
        "How a browser treats the artifact; absent: `attachment`. `inline` has an effect only for media types that cannot run scripts.",
    ),
];

/// The headers of a download, for GET and HEAD.
pub(crate) const DOWNLOAD_HEADERS: &[RequestField] = &[
    RequestField::repeatable(
        "if-match",
        ValueType::Text,
        "Entity tags, or `*`: 412 if none is the artifact's.",
    ),
    RequestField::single(
        "if-unmodified-since",
        ValueType::Text,
        "A date: 412 if the artifact is newer. Used only if `if-match` is absent.",
    ),
    RequestField::repeatable(
        "if-none-match",
        ValueType::Text,
        "Entity tags that the client already has: 304 if one is the artifact's.",
    ),
    RequestField::single(
        "if-modified-since",
        ValueType::Text,
        "A date: 304 if the artifact is not newer. Used only if `if-none-match` is absent.",
    ),
];

/// The headers of a download with GET, in addition to [`DOWNLOAD_HEADERS`].
pub(crate) const RANGE_HEADERS: &[RequestField] = &[
    RequestField::single(
        "range",
        ValueType::Text,
        "One range of bytes. Several ranges or a malformed one get the whole artifact.",
    ),
    RequestField::single(
        "if-range",
        ValueType::Text,
        "The range applies only if this is the artifact's entity tag or date. Otherwise the whole artifact is sent.",
    ),
];

/// The query parameters of an upload.
pub(crate) const UPLOAD_QUERY: &[RequestField] = &[
    RequestField::single(
        "namespace",
        ValueType::Namespace,
        "Keeps purposes apart within a scope; absent or empty: `default`.",
    ),
    RequestField::single("filename", ValueType::Text, "A name for people and downloads."),
    RequestField::single("task", ValueType::ScopePart, "The task within the session; absent or empty: none."),
    RequestField::single(
        "source",
        ValueType::OneOf(SOURCES),
        "Where the bytes came from; absent or empty: `user_upload`.",
    ),
    RequestField::repeatable("tag", ValueType::Text, "A tag, to find the artifact by."),
];

/// The names of [`Source`].
const SOURCES: &[&str] =
    &[Source::Tool.as_str(), Source::Planner.as_str(), Source::UserUpload.as_str(), Source::System.as_str()];

// This fails to compile if a new source is missing in `SOURCES`.
const _: () = assert!(SOURCES.len() == Source::ALL.len());

/// The headers of an upload, except `Content-Type`.
pub(crate) const UPLOAD_HEADERS: &[RequestField] = &[RequestField::single(
    "content-digest",
    ValueType::Digests,
    "The SHA-256 of the body (RFC 9530), compared before the artifact is visible.",
)];
