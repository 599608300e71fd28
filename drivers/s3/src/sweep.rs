//! Clearing away what processes left that died in the middle of something: [`SweepReport`] and the sweep.
//!
//! This module must never remove an artifact, nor anything that is younger than `upload_ttl`.

use artifact_store_core::{Clock, ErrorKind, StoreError, SystemClock};
use aws_sdk_s3::primitives::DateTime;
use futures_util::stream::{self, StreamExt};

use crate::error::{Failed, Why};
use crate::inner::{Inner, Standing};
use crate::record::META_SIDE;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Objects that belonged to no artifact and were removed: staged bodies, uploads that nobody committed, long
    /// records, bytes without a record.
    pub objects: u64,
    /// Uploads in parts that were ended.
    pub uploads: u64,
    /// What was left because it is younger than `upload_ttl`.
    pub young: u64,
    /// Whether the store could tell which uploads in parts are under way. Where it cannot, a rule of the bucket must
    /// remove them.
    pub uploads_known: bool,
}

/// Removes leftovers.
pub(crate) async fn sweep(inner: &Inner) -> Result<SweepReport, StoreError> {
    let ttl = i64::try_from(inner.config.upload_ttl.as_secs()).unwrap_or(i64::MAX);
    let now = SystemClock.now().as_micros() / 1_000_000;
    let mut sweep = Sweep { inner, before: now.saturating_sub(ttl), report: SweepReport::default() };
    sweep.uploads().await?;
    sweep.objects(&inner.layout.staging()).await?;
    sweep.objects(&inner.layout.uploads()).await?;
    sweep.sides().await?;
    sweep.halves().await?;
    Ok(sweep.report)
}

struct Sweep<'a> {
    inner: &'a Inner,
    /// What was made in this second or before is a leftover.
    before: i64,
    report: SweepReport,
}

impl Sweep<'_> {
    fn is_old(&mut self, made: Option<&DateTime>) -> bool {
        // Without a time nothing is known to be old.
        let old = made.is_some_and(|made| made.secs() <= self.before);
        self.report.young += u64::from(!old);
        old
    }

    /// Ends uploads in parts below the prefix.
    async fn uploads(&mut self) -> Result<(), StoreError> {
        let inner = self.inner;
        let (mut key, mut upload) = (None, None);
        loop {
            inner.may_go_on()?;
            let list =
                inner.client.list_multipart_uploads().bucket(&inner.bucket).prefix(inner.layout.prefix());
            let page = list.set_key_marker(key).set_upload_id_marker(upload).send().await;
            let page = match page {
                Ok(page) => page,
                Err(error) => match inner.failed("listing the uploads under way", error) {
                    Failed { why: Why::NotImplemented, .. } => return Ok(()),
                    failed => return Err(failed.into()),
                },
            };
            self.report.uploads_known = true;
            for found in page.uploads() {
                if let (Some(key), Some(upload)) = (found.key(), found.upload_id())
                    && self.is_old(found.initiated())
                    && inner.abort(key, upload).await
                {
                    self.report.uploads += 1;
                }
            }
            if !page.is_truncated().unwrap_or(false) {
                return Ok(());
            }
            (key, upload) = (page.next_key_marker, page.next_upload_id_marker);
            if key.is_none() {
                return Ok(());
            }
        }
    }

    /// Removes the objects that start with `prefix`, whatever they are.
    async fn objects(&mut self, prefix: &str) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            self.inner.may_go_on()?;
            let page = self.inner.keys(prefix, after).await?;
            for object in page.objects {
                if let Some(key) = object.key.as_deref()
                    && self.is_old(object.last_modified.as_ref())
                {
                    self.remove(key).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Removes long records whose artifact is gone or has another one.
    async fn sides(&mut self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            self.inner.may_go_on()?;
            let page = self.inner.keys(&self.inner.layout.sides(), after).await?;
            for object in page.objects {
                let Some(key) = object.key.as_deref() else { continue };
                let Some((artifact, random)) = self.inner.layout.artifact_of_side(key) else { continue };
                // One that is in use does not count as spared: it is no leftover.
                if !self.is_used(&artifact, &random).await? && self.is_old(object.last_modified.as_ref()) {
                    self.remove(key).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Removes objects at artifacts' keys that have no record: where a store shows bytes before metadata, a put that was
    /// killed leaves them. A request for each artifact.
    async fn halves(&mut self) -> Result<(), StoreError> {
        let inner = self.inner;
        let at_once = usize::try_from(inner.config.list_concurrency).unwrap_or(1);
        let mut after = None;
        loop {
            inner.may_go_on()?;
            let page = inner.keys(&inner.layout.artifacts(), after).await?;
            let ours = page.objects.into_iter().filter_map(|object| {
                let key = object.key?;
                inner.layout.artifact_components(&key).is_some().then_some((key, object.last_modified))
            });
            let mut looked = stream::iter(ours)
                .map(|(key, made)| async move { (inner.standing_at(&key).await, key, made) })
                .buffer_unordered(at_once);
            while let Some((standing, key, made)) = looked.next().await {
                match standing {
                    Ok(Standing::Foreign) if self.is_old(made.as_ref()) => {
                        let _turn = inner.turn(&key).await;
                        // A put may have come first.
                        if matches!(inner.standing_at(&key).await?, Standing::Foreign) {
                            self.remove(&key).await?;
                        }
                    }
                    Ok(_) => {}
                    // A damaged artifact is no leftover: an operator decides what becomes of it.
                    Err(error) if error.kind() == ErrorKind::Corrupt => {}
                    Err(error) => return Err(error),
                }
            }
            drop(looked);
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn is_used(&self, artifact: &str, random: &str) -> Result<bool, StoreError> {
        match self.inner.client.head_object().bucket(&self.inner.bucket).key(artifact).send().await {
            Ok(head) => Ok(head
                .metadata()
                .and_then(|metadata| metadata.get(META_SIDE))
                .is_some_and(|side| side.starts_with(random))),
            Err(error) => match self.inner.failed("looking for an artifact", error) {
                Failed { why: Why::NoKey, .. } => Ok(false),
                failed => Err(failed.into()),
            },
        }
    }

    async fn remove(&mut self, key: &str) -> Result<(), StoreError> {
        self.inner.remove("removing a leftover", key).await?;
        self.report.objects += 1;
        Ok(())
    }
}
