//! What a put leaves behind when it ends early, and how it goes: tried again for a while, then left to a sweep.
//!
//! This module must never remove an artifact.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Why;
use crate::inner::Inner;

/// The waits between the tries; `close` waits about as long.
const WAITS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// How long `close` waits for what runs in the background.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Inner {
    /// Removes an object that is no artifact, trying for a while.
    pub(crate) async fn remove_stubbornly(&self, key: &str) {
        for wait in WAITS {
            if self.remove("removing what a put left", key).await.is_ok() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Ends a multipart upload, trying for a while.
    pub(crate) async fn abort_stubbornly(&self, key: &str, upload: &str) {
        for wait in WAITS {
            if self.abort(key, upload).await {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Ends a multipart upload; whether it is gone.
    pub(crate) async fn abort(&self, key: &str, upload: &str) -> bool {
        let request =
            self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload).send().await;
        match request {
            Ok(_) => true,
            Err(error) => matches!(self.failed("ending an upload", error).why, Why::NoUpload | Why::NoKey),
        }
    }
}

/// An object that goes unless it is kept: dropped, it is removed in the background.
#[derive(Debug)]
pub(crate) struct Scrap {
    inner: Arc<Inner>,
    key: Option<String>,
}

impl Scrap {
    pub(crate) fn new(inner: &Arc<Inner>, key: String) -> Self {
        Self { inner: Arc::clone(inner), key: Some(key) }
    }

    /// It stays.
    pub(crate) fn keep(mut self) {
        self.key = None;
    }

    /// It goes, now if it can be.
    pub(crate) async fn remove(mut self) {
        if let Some(key) = self.key.clone()
            && self.inner.remove("removing what a put left", &key).await.is_ok()
        {
            self.key = None;
        }
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let inner = Arc::clone(&self.inner);
            self.inner.tasks.detach(async move { inner.remove_stubbornly(&key).await });
        }
    }
}
