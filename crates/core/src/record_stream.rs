//! All rows of a listing: [`RecordStream`].
//!
//! This module must never know a driver.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, Stream, TryStreamExt};

use crate::error::StoreError;
use crate::list::ListQuery;
use crate::record::Record;
use crate::store::ArtifactStore;

/// The rows of all pages of a listing. The stream requests the next page only when it is polled after the last row of a
/// page.
///
/// The stream owns an `Arc` of the store and borrows nothing, so it can be moved into a task or returned from a
/// function. The stream ends after an error.
#[must_use = "a stream does nothing unless it is polled"]
pub struct RecordStream(Pin<Box<dyn Stream<Item = Result<Record, StoreError>> + Send + 'static>>);

impl RecordStream {
    pub(crate) fn new<S: ArtifactStore + ?Sized>(store: Arc<S>, query: ListQuery) -> Self {
        // The stream has no total, so counting the rows would be in vain.
        let first_query = query.without_total();
        // The state is the query of the next page; `None` after the last page.
        let pages = stream::try_unfold(Some(first_query), move |query| {
            let store = Arc::clone(&store);
            async move {
                let Some(query) = query else { return Ok::<_, StoreError>(None) };
                let page = store.list(&query).await?;
                let next_query = page.next.map(|cursor| query.with_cursor(Some(cursor)));
                let rows = stream::iter(page.rows.into_iter().map(Ok));
                Ok(Some((rows, next_query)))
            }
        });
        Self(Box::pin(pages.try_flatten()))
    }
}

impl Stream for RecordStream {
    type Item = Result<Record, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordStream")
    }
}
