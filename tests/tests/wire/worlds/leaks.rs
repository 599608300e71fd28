//! Stores and a clock that each let one thing of other tenants through: the comparison of worlds has to see every one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Clock, Get, Health, ListQuery, Page,
    PresignIntent, Presigned, Put, PutOptions, PutOutcome, Record, Scope, ScopePattern, StoreError,
    TenantPattern, Timestamp, async_trait,
};

/// What is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leak {
    /// `total_matched` counts every tenant's rows.
    TotalOfAllTenants,
    /// Bytes that another tenant has are *stood already* here.
    DedupAcrossTenants,
    /// A missing id that another tenant has fails otherwise than one that nobody has.
    ExistenceInFailures,
    /// A page is shorter while others have as many rows.
    PageOfAllTenants,
    /// Records are stamped with a count of all puts.
    ClockThatCounts,
}

impl Leak {
    pub(super) const ALL: [Self; 5] = [
        Self::TotalOfAllTenants,
        Self::DedupAcrossTenants,
        Self::ExistenceInFailures,
        Self::PageOfAllTenants,
        Self::ClockThatCounts,
    ];
}

/// A bare store with a leak.
#[derive(Debug)]
pub(super) struct Leaky(pub(super) Arc<dyn ArtifactStore>, pub(super) Leak);

impl Leaky {
    /// The same listing over all tenants.
    async fn everywhere(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let pattern = ScopePattern { tenant: TenantPattern::AllTenants, ..query.pattern().clone() };
        self.0.list(&ListQuery::new(pattern).with_filter(query.filter().clone()).with_total()).await
    }

    async fn exists_elsewhere(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let page = self.0.list(&ListQuery::new(ScopePattern::all_tenants()).with_limit(1000)).await?;
        Ok(page.rows.iter().any(|row| row.id == *id && row.scope.tenant() != scope.tenant()))
    }

    /// Tells a missing id that others have from one that nobody has.
    async fn tell<T>(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        found: Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let tells = self.1 == Leak::ExistenceInFailures && found.is_none();
        if tells && self.exists_elsewhere(scope, id).await? {
            return Err(StoreError::unavailable("it is another tenant's"));
        }
        Ok(found)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ArtifactStore for Leaky {
    fn driver(&self) -> &'static str {
        self.0.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        let mut put = self.0.put(scope, body, options).await?;
        if self.1 == Leak::DedupAcrossTenants && self.exists_elsewhere(scope, &put.record.id).await? {
            put.outcome = PutOutcome::StoodAlready;
        }
        Ok(put)
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        let found = self.0.get(scope, id, range).await?;
        self.tell(scope, id, found).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        let found = self.0.stat(scope, id).await?;
        self.tell(scope, id, found).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.0.delete(scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut page = self.0.list(query).await?;
        match self.1 {
            Leak::TotalOfAllTenants => page.total = self.everywhere(query).await?.total,
            // As a store that filters a page after it has cut it off.
            Leak::PageOfAllTenants if page.rows.len() > 1 => {
                let all = self.everywhere(query).await?.total.unwrap_or_default();
                if all > 2 * page.total.unwrap_or_default() {
                    page.rows.pop();
                }
            }
            _ => {}
        }
        Ok(page)
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<Presigned>, StoreError> {
        self.0.presign(scope, intent, expiry).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Put>, StoreError> {
        self.0.commit_upload(scope, id).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.0.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}

/// Never the same moment twice, whoever asks.
#[derive(Debug)]
pub(super) struct Counting(pub(super) Arc<dyn Clock>, pub(super) AtomicI64);

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        let count = self.1.fetch_add(1, Ordering::SeqCst);
        Timestamp::from_micros(self.0.now().as_micros() + count)
    }
}
