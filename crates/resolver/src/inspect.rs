//! The hook through which an embedding runtime looks at uploads before they are stored: [`Inspector`].

use std::borrow::Cow;
use std::fmt;

use artifact_store_core::{
    Body, BodyStream, BoxError, Bytes, OpenBody, PutOptions, Scope, StoreError, async_trait,
};
use futures_util::stream;

/// Why an upload was turned away. The text is sent to the uploader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection(Cow<'static, str>);

impl Rejection {
    /// A rejection. `message` is sent with `payload_invalid`, so it must not repeat the bytes.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }

    /// What the uploader is told.
    pub fn message(&self) -> &Cow<'static, str> {
        &self.0
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the inspection turned the upload away: {}", self.0)
    }
}

impl std::error::Error for Rejection {}

/// What is about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// Where to.
    pub scope: &'a Scope,
    /// What its sender says of it.
    pub options: &'a PutOptions,
    /// Its length in bytes, where it is known before the end.
    pub length: Option<u64>,
}

/// Looks at uploads before they are stored. An upload that it turns away leaves nothing behind.
#[async_trait]
pub trait Inspector: fmt::Debug + Send + Sync + 'static {
    /// Looks at an upload's metadata. `Ok(None)` lets its bytes pass unseen; `Ok(Some(…))` sees them.
    ///
    /// # Errors
    /// A [`Rejection`] turns the upload away before a byte of it is read.
    async fn begin(&self, upload: Upload<'_>) -> Result<Option<Box<dyn Inspection>>, Rejection>;
}

/// Looks at the bytes of one upload as they flow. Bytes may have reached the storage by then, but nothing is visible before
/// [`end`](Self::end) has agreed.
#[async_trait]
pub trait Inspection: Send + 'static {
    /// The next piece, in order; at most 256 KiB.
    ///
    /// # Errors
    /// A [`Rejection`] ends the upload.
    async fn piece(&mut self, piece: &Bytes) -> Result<(), Rejection>;

    /// All pieces have been seen.
    ///
    /// # Errors
    /// A [`Rejection`] ends the upload.
    async fn end(&mut self) -> Result<(), Rejection>;
}

/// `body` with every piece shown to `inspection` before the store sees it.
pub(crate) fn inspected(body: Body, inspection: Box<dyn Inspection>) -> Result<Body, StoreError> {
    let (length, limit, digest) = (body.length(), body.limit(), body.announced_digest());
    let pieces: BodyStream = match body.open(u64::MAX)? {
        OpenBody::Stream(stream) => *stream,
        at_hand @ OpenBody::AtHand(_) => at_hand.into_stream(),
    };
    let shown = stream::try_unfold(Some((pieces, inspection)), async |state| {
        let Some((mut pieces, mut inspection)) = state else { return Ok::<_, BoxError>(None) };
        if let Some(piece) = pieces.next().await? {
            inspection.piece(&piece).await?;
            return Ok(Some((piece, Some((pieces, inspection)))));
        }
        // The body is whole and as announced; only now may it be agreed to.
        pieces.finish()?;
        inspection.end().await?;
        Ok(None)
    });
    let mut body = Body::from_stream(shown).with_limit(limit);
    if let Some(length) = length {
        body = body.with_length(length);
    }
    if let Some(digest) = digest {
        body = body.with_digest(digest);
    }
    Ok(body)
}
