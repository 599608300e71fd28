//! [`Inspector`]: a hook for the program that embeds this crate. The hook inspects each upload before its artifact
//! becomes visible.

use std::borrow::Cow;
use std::fmt;

use artifact_store_core::{
    Body, BodyStream, BoxError, Bytes, OpenBody, PutOptions, Scope, StoreError, async_trait,
};
use futures_util::stream;

/// The reason why an inspector rejects an upload. The uploader receives the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection(Cow<'static, str>);

impl Rejection {
    /// Creates a rejection. The uploader receives `message` with the code `payload_invalid`. The message must not
    /// contain bytes of the upload.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }

    /// The text for the uploader.
    pub fn message(&self) -> &Cow<'static, str> {
        &self.0
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the inspection rejected the upload: {}", self.0)
    }
}

impl std::error::Error for Rejection {}

/// The metadata of an upload that is about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The scope that the upload is stored in.
    pub scope: &'a Scope,
    /// The options of the put, as the uploader sent them.
    pub options: &'a PutOptions,
    /// The length of the upload in bytes; `None` if it is not known before the end.
    pub length: Option<u64>,
}

/// Inspects puts and uploads before the artifact becomes visible. A rejected upload leaves nothing in the store.
#[async_trait]
pub trait Inspector: fmt::Debug + Send + Sync + 'static {
    /// Inspects the metadata of an upload. `Ok(None)` accepts the upload, and its bytes are not inspected.
    /// `Ok(Some(…))` returns the [`Inspection`] that inspects its bytes.
    ///
    /// # Errors
    /// A [`Rejection`] ends the upload before any of its bytes is read.
    async fn begin(&self, upload: Upload<'_>) -> Result<Option<Box<dyn Inspection>>, Rejection>;
}

/// Inspects the bytes of one upload as they arrive. The store may write bytes during the inspection, but the artifact
/// is not visible before [`finish`](Self::finish) returns `Ok`.
#[async_trait]
pub trait Inspection: Send + 'static {
    /// Inspects the next chunk of the upload. Chunks come in order, and each has at most 256 KiB.
    ///
    /// # Errors
    /// A [`Rejection`] ends the upload.
    async fn chunk(&mut self, chunk: &Bytes) -> Result<(), Rejection>;

    /// Accepts or rejects the upload after its last chunk.
    ///
    /// # Errors
    /// A [`Rejection`] ends the upload.
    async fn finish(&mut self) -> Result<(), Rejection>;
}

/// Wraps `body` so that `inspection` sees each chunk before the store does.
pub(crate) fn inspect_body(body: Body, inspection: Box<dyn Inspection>) -> Result<Body, StoreError> {
    let (length, limit, digest) = (body.length(), body.limit(), body.announced_digest());
    // The body is opened without a limit. The returned body has the limit.
    let chunks: BodyStream = match body.open(u64::MAX)? {
        OpenBody::Stream(stream) => *stream,
        in_memory @ OpenBody::InMemory(_) => in_memory.into_stream(),
    };
    let inspected = stream::try_unfold((chunks, inspection), async |(mut chunks, mut inspection)| {
        if let Some(chunk) = chunks.next().await? {
            inspection.chunk(&chunk).await?;
            let next_state = (chunks, inspection);
            return Ok(Some((chunk, next_state)));
        }
        // `chunks.finish` fails if the body does not have its announced length and digest. The inspection must not
        // accept such a body, so `chunks.finish` comes first.
        chunks.finish()?;
        inspection.finish().await?;
        Ok::<_, BoxError>(None)
    });
    let mut body = Body::from_stream(inspected).with_limit(limit);
    if let Some(length) = length {
        body = body.with_length(length);
    }
    if let Some(digest) = digest {
        body = body.with_digest(digest);
    }
    Ok(body)
}
