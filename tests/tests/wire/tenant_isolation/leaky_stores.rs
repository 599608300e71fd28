//! Stores and a clock that each leak one thing about other tenants. The comparison must detect every one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Clock, GetResult, Health, ListQuery, Page,
    PresignIntent, PresignedRequest, PutOptions, PutOutcome, PutResult, Record, Scope, ScopePattern,
    StoreError, TenantPattern, Timestamp, async_trait,
};

/// What is leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leak {
    /// `total_matched` counts every tenant's rows.
    TotalOfAllTenants,
    /// Bytes that another tenant has *already exist* here.
    DedupAcrossTenants,
    /// A missing id fails differently if another tenant has it.
    ExistenceInFailures,
    /// A page is shorter if other tenants have as many rows.
    PageOfAllTenants,
    /// The time of a record counts all puts.
    CountingClock,
}

impl Leak {
    pub(super) const ALL: [Self; 5] = [
        Self::TotalOfAllTenants,
        Self::DedupAcrossTenants,
        Self::ExistenceInFailures,
        Self::PageOfAllTenants,
        Self::CountingClock,
    ];
}

/// A bare store with a leak.
#[derive(Debug)]
pub(super) struct LeakyStore(pub(super) Arc<dyn ArtifactStore>, pub(super) Leak);

impl LeakyStore {
    /// The same listing over all tenants.
    async fn list_all_tenants(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let pattern = ScopePattern { tenant: TenantPattern::AllTenants, ..query.pattern().clone() };
        self.0.list(&ListQuery::new(pattern).with_filter(query.filter().clone()).with_total()).await
    }

    async fn exists_elsewhere(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let page = self.0.list(&ListQuery::new(ScopePattern::all_tenants()).with_limit(1000)).await?;
        Ok(page.rows.iter().any(|row| row.id == *id && row.scope.tenant() != scope.tenant()))
    }

    /// Distinguishes a missing id that others have from one that nobody has.
    async fn leak_existence<T>(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        found: Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let leaks = self.1 == Leak::ExistenceInFailures && found.is_none();
        if leaks && self.exists_elsewhere(scope, id).await? {
            return Err(StoreError::unavailable("it is another tenant's"));
        }
        Ok(found)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ArtifactStore for LeakyStore {
    fn driver(&self) -> &'static str {
        self.0.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        let mut put = self.0.put(scope, body, options).await?;
        if self.1 == Leak::DedupAcrossTenants && self.exists_elsewhere(scope, &put.record.id).await? {
            put.outcome = PutOutcome::AlreadyExists;
        }
        Ok(put)
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let found = self.0.get(scope, id, range).await?;
        self.leak_existence(scope, id, found).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        let found = self.0.stat(scope, id).await?;
        self.leak_existence(scope, id, found).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.0.delete(scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut page = self.0.list(query).await?;
        match self.1 {
            Leak::TotalOfAllTenants if query.counts_total() => {
                page.total = self.list_all_tenants(query).await?.total;
            }
            // As a store that filters a page after cutting it off.
            Leak::PageOfAllTenants if page.rows.len() > 1 => {
                let all = self.list_all_tenants(query).await?.total.unwrap_or_default();
                let own = self.0.list(&query.clone().with_total()).await?.total.unwrap_or_default();
                if all > 2 * own {
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
    ) -> Result<Option<PresignedRequest>, StoreError> {
        self.0.presign(scope, intent, expiry).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        self.0.commit_upload(scope, id).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.0.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}

/// A clock that never returns the same time twice, whoever reads it.
#[derive(Debug)]
pub(super) struct CountingClock(pub(super) Arc<dyn Clock>, pub(super) AtomicI64);

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        let count = self.1.fetch_add(1, Ordering::SeqCst);
        Timestamp::from_micros(self.0.now().as_micros() + count)
    }
}
