//! The lies of `put`.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, ErrorKind, Filter, PutOptions, PutOutcome, PutResult,
    Scope, ScopePattern, StoreError,
};

use super::lie::Lie;
use super::lock;
use super::shared_state::SharedState;
use super::store::LyingStore;

/// Adds a line to the residue if this value is dropped while `is_armed` is true. A put sets `is_armed` to false after
/// it has read the body. So a put leaves residue only if it is dropped while it reads the body.
struct ResidueOnDrop<'a> {
    shared: &'a SharedState,
    is_armed: bool,
}

impl Drop for ResidueOnDrop<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            lock(&self.shared.residue).push("tmp/half".into());
        }
    }
}

/// Marks the bytes of an artifact as destroyed if this value is dropped while it has a key. This imitates a driver that
/// deletes the bytes of a dropped put without knowing whether the commit has ended.
struct DestroyOnDrop<'a> {
    destroyed: &'a Mutex<HashSet<(Scope, ArtifactId)>>,
    /// The scope and the id of the artifact; `None` after the put has returned from its commit.
    key: Option<(Scope, ArtifactId)>,
}

impl Drop for DestroyOnDrop<'_> {
    fn drop(&mut self) {
        lock(self.destroyed).extend(self.key.take());
    }
}

/// Polls a future in a loop until it is ready, without yielding to the runtime.
fn poll_without_yielding<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // Without a time limit, a future that is never ready would hang the test.
    let started = std::time::Instant::now();
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        assert!(started.elapsed() < Duration::from_secs(40), "the future was not ready within 40 s");
    }
}

impl LyingStore {
    /// Reads a body chunk by chunk. Returns all bytes that were read, and the error that ended the body. The error is
    /// `None` if the body is complete. Fails if the body cannot be opened.
    async fn read_body(&self, body: Body) -> Result<(Vec<u8>, Option<StoreError>), StoreError> {
        let mut stream = body.open(u64::MAX)?.into_stream();
        let mut all = Vec::new();
        // The chunks that the liar `HoldsTheWholeBody` never drops before the end of the body.
        let mut held = Vec::new();
        loop {
            // The liar that never yields polls the stream until the next chunk is ready. Meanwhile no other task can
            // run on this thread.
            let next = if self.has_lie(Lie::NeverYields) {
                poll_without_yielding(stream.next())
            } else {
                stream.next().await
            };
            match next {
                Ok(Some(chunk)) => {
                    all.extend_from_slice(&chunk);
                    if self.has_lie(Lie::HoldsTheWholeBody) {
                        held.push(chunk);
                    }
                }
                Ok(None) => return Ok((all, None)),
                Err(error) => return Ok((all, Some(error))),
            }
        }
    }

    /// Ends a put whose body failed with `error`, with the lie of this store. `all` contains the bytes that were read
    /// before the error.
    async fn handle_failed_body(
        &self,
        scope: &Scope,
        all: Vec<u8>,
        stored_options: PutOptions,
        error: StoreError,
    ) -> Result<PutResult, StoreError> {
        let kind = error.kind();
        // A body with a wrong length and a body that fails both give `InvalidArgument`. Only the error of a body that
        // fails has a source.
        let has_source = std::error::Error::source(&error).is_some();
        let ignores_error = match self.lie {
            Lie::CutsAtTheLimit => matches!(kind, ErrorKind::TooLarge { .. }),
            Lie::IgnoresDigest => matches!(kind, ErrorKind::DigestMismatch { .. }),
            Lie::IgnoresLength => kind == ErrorKind::InvalidArgument && !has_source,
            _ => false,
        };
        if ignores_error {
            return self.inner.put(scope, Body::from(all), stored_options).await;
        }
        match self.lie {
            Lie::KeepsPartialBody => _ = self.inner.put(scope, Body::from(all), stored_options).await?,
            Lie::LeaksATempFile => lock(&self.shared.residue).push("tmp/whole".into()),
            Lie::LosesTheExistingArtifact => {
                for row in self.rows(ScopePattern::exactly(scope), Filter::default()).await? {
                    self.inner.delete(scope, &row.id).await?;
                }
            }
            _ => {}
        }
        Err(error)
    }

    /// Stores bytes in several steps and commits them in a background task. If the put is dropped during the commit,
    /// the background task completes the commit, but the bytes are destroyed.
    async fn put_in_steps(
        &self,
        scope: &Scope,
        all: Vec<u8>,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        // Four steps, so that a put can be dropped at several moments before the commit.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let id = ArtifactId::new(&options.namespace, &artifact_store_core::Digest::of(&all));
        let mut guard = DestroyOnDrop { destroyed: &self.destroyed, key: Some((scope.clone(), id)) };
        let commit = tokio::spawn({
            let (inner, scope) = (Arc::clone(&self.inner), scope.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                inner.put(&scope, Body::from(all), options).await
            }
        });
        let put =
            commit.await.map_err(|error| StoreError::backend("the commit panicked").with_source(error))?;
        guard.key = None;
        put
    }

    /// Stores the first chunk as an artifact, which is visible at once. After the last chunk, replaces this artifact
    /// with the whole one.
    async fn put_record_before_bytes(
        &self,
        scope: &Scope,
        body: Body,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        let mut stream = body.open(u64::MAX)?.into_stream();
        let mut all = Vec::new();
        let mut early = None;
        while let Some(chunk) = stream.next().await? {
            all.extend_from_slice(&chunk);
            if early.is_none() {
                early = Some(self.inner.put(scope, Body::from_bytes(chunk), options.clone()).await?);
            }
        }
        if let Some(early) = early {
            self.inner.delete(scope, &early.record.id).await?;
        }
        self.inner.put(scope, Body::from(all), options).await
    }

    /// Puts an artifact with the lie of this store.
    pub(super) async fn put_with_lie(
        &self,
        scope: &Scope,
        body: Body,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        let requested_options = options.clone();
        let mut stored_options = options;
        match self.lie {
            Lie::ForgetsMetadata => stored_options.metadata.clear(),
            Lie::StopsTextAtNul => {
                stored_options.filename = stored_options
                    .filename
                    .map(|name| name.split('\0').next().unwrap_or_default().to_owned());
            }
            Lie::LimitOffByOne if body.limit() < u64::MAX => {
                let lower_limit = body.limit().saturating_sub(1);
                return self.inner.put(scope, body.with_limit(lower_limit), stored_options).await;
            }
            // The task goes on after its handle is dropped.
            Lie::LeavesATask => drop(tokio::spawn(std::future::pending::<()>())),
            Lie::RefusesLargeOptions
                if serde_json::to_vec(&stored_options).is_ok_and(|json| json.len() > 4096) =>
            {
                return Err(StoreError::backend("the storage accepts at most 4 KiB of metadata"));
            }
            _ => {}
        }
        if self.has_lie(Lie::RecordBeforeBytes) {
            return self.put_record_before_bytes(scope, body, stored_options).await;
        }
        let mut guard = ResidueOnDrop { shared: &self.shared, is_armed: self.has_lie(Lie::LeaksWhenDropped) };
        let (all, error) = self.read_body(body).await?;
        guard.is_armed = false;
        if let Some(error) = error {
            return self.handle_failed_body(scope, all, stored_options, error).await;
        }
        if self.has_lie(Lie::DestroysADroppedCommit) {
            return self.put_in_steps(scope, all, stored_options).await;
        }
        let used_scope = self.mistaken_scope(scope)?;
        let id = ArtifactId::new(&stored_options.namespace, &artifact_store_core::Digest::of(&all));
        match self.lie {
            Lie::IdOfTwelveDigits => {
                // The namespace, the separator `_` and the first 12 digits of the digest.
                let length = stored_options.namespace.as_str().len() + 1 + 12;
                let rows = self.rows(ScopePattern::exactly(scope), Filter::default()).await?;
                let same_prefix =
                    rows.into_iter().find(|row| row.id.as_str()[..length] == id.as_str()[..length]);
                if let Some(record) = same_prefix {
                    return Ok(PutResult { record, outcome: PutOutcome::AlreadyExists });
                }
            }
            Lie::NeverForgetsAnId => {
                let key = (scope.clone(), id.clone());
                if let Some(record) = lock(&self.deleted).get(&key).cloned() {
                    return Ok(PutResult { record, outcome: PutOutcome::AlreadyExists });
                }
            }
            Lie::SecondWriterWins if self.inner.delete(scope, &id).await? => {
                let put = self.inner.put(scope, Body::from(all), stored_options).await?;
                return Ok(PutResult { outcome: PutOutcome::AlreadyExists, ..put });
            }
            Lie::ChecksThenActs if !self.inner.exists(scope, &id).await? => {
                tokio::time::sleep(Duration::from_millis(3)).await;
                // A racing put may have stored the artifact. After this delete, the put below creates it again.
                self.inner.delete(scope, &id).await?;
                return self.inner.put(scope, Body::from(all), stored_options).await;
            }
            _ => {}
        }
        let count = self.put_count.fetch_add(1, Ordering::SeqCst) + 1;
        let mut put = self.inner.put(&used_scope, Body::from(all), stored_options).await?;
        put.record.scope = scope.clone();
        match self.lie {
            Lie::ForgetsEveryTenthPut if count.is_multiple_of(10) => {
                _ = self.inner.delete(scope, &id).await?;
            }
            Lie::AlwaysCreated => put.outcome = PutOutcome::Created,
            Lie::ForgetsMetadata | Lie::StopsTextAtNul if put.outcome == PutOutcome::Created => {
                // The put returns the requested options, although the store has lost some of them.
                put.record.options = requested_options;
            }
            Lie::SeesPutsLate => _ = lock(&self.unseen_puts).insert(id),
            Lie::RemembersHalf => lock(&self.shared.records).push(put.record.clone()),
            _ => {}
        }
        Ok(put)
    }
}
