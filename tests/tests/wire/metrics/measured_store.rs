//! A store wrapped for metrics behaves like the wrapped store: it passes every check of the suite.

use std::sync::Arc;

use artifact_store_conformance::liars::HonestHarness;
use artifact_store_conformance::{Backend, Harness, HttpClient, StoreOptions, run};
use artifact_store_core::{ArtifactStore, BoxError, Gate, GateOptions, StoreError, async_trait};
use artifact_store_server::MeasuredStore;
use artifact_store_tests::matrix_rows::matrix_rows;

/// A flavour whose stores are wrapped.
#[derive(Debug)]
struct MeasuredHarness(Arc<dyn Harness>);

#[derive(Debug)]
struct MeasuredBackend(Box<dyn Backend>);

#[async_trait]
impl Harness for MeasuredHarness {
    fn flavour(&self) -> String {
        format!("{} measured", self.0.flavour())
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(MeasuredBackend(self.0.create_backend().await?)))
    }
}

#[async_trait]
impl Backend for MeasuredBackend {
    async fn open(&self, with: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let gate = Gate::new(self.0.open(with).await?, GateOptions::default())?;
        Ok(Arc::new(MeasuredStore::new(Arc::new(gate))))
    }

    fn is_persistent(&self) -> bool {
        self.0.is_persistent()
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        self.0.residue().await
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        self.0.http_client()
    }
}

#[test]
fn a_measured_store_passes_the_conformance_suite() {
    // A store that presigns, and the local drivers.
    run(&MeasuredHarness(Arc::new(HonestHarness))).assert_conforms();
    for row in matrix_rows().into_iter().filter(|row| !row.flavour.has_server()) {
        run(&MeasuredHarness(row.harness)).assert_conforms();
    }
}
