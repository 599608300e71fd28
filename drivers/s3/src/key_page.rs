//! The keys below a prefix, page by page: [`KeyPage`].
//!
//! This module must never know what a key means.

use artifact_store_core::StoreError;
use aws_sdk_s3::types::Object;

use crate::error::Operation;
use crate::state::StoreState;

/// The largest number of keys in one response that the protocol allows.
pub(crate) const PAGE_KEYS: i32 = 1000;

/// One page of the keys with a prefix.
#[derive(Debug)]
pub(crate) struct KeyPage {
    pub(crate) objects: Vec<Object>,
    /// The token of the next page; `None` if this is the last.
    pub(crate) next: Option<String>,
}

impl StoreState {
    /// One page of the keys with `prefix`. `token` is [`KeyPage::next`] of the page before; `None` for the first page.
    pub(crate) async fn list_keys(&self, prefix: &str, token: Option<String>) -> Result<KeyPage, StoreError> {
        self.list_keys_from(prefix, token, None, PAGE_KEYS).await
    }

    /// Like [`list_keys`](Self::list_keys), but the page has at most `max_keys` keys. If the key `start_after` is set,
    /// returns only keys that sort after it.
    pub(crate) async fn list_keys_from(
        &self,
        prefix: &str,
        token: Option<String>,
        start_after: Option<String>,
        max_keys: i32,
    ) -> Result<KeyPage, StoreError> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(max_keys);
        let response = list.set_continuation_token(token).set_start_after(start_after).send().await;
        let response = response
            .map_err(|error| self.request_error(Operation::bucket("listing keys", "s3:ListBucket"), error))?;
        let is_truncated = response.is_truncated().unwrap_or(false);
        let next = response.next_continuation_token().filter(|_| is_truncated).map(str::to_owned);
        if is_truncated && next.is_none() {
            return Err(StoreError::backend(
                "the store says that there are more keys, but gives no token for them",
            ));
        }
        Ok(KeyPage { objects: response.contents.unwrap_or_default(), next })
    }
}
