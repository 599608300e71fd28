//! The store that counts its calls is the store that it measures: it passes every check of the suite.

use std::sync::Arc;

use artifact_store_conformance::liars::Honest;
use artifact_store_conformance::{Harness, HttpClient, OpenWith, Place, run};
use artifact_store_core::{ArtifactStore, BoxError, Gate, GateOptions, StoreError, async_trait};
use artifact_store_tests::flavours::rows;
use artifactd::metrics::MeasuredStore;

/// A flavour whose stores are measured.
#[derive(Debug)]
struct Measured(Arc<dyn Harness>);

#[derive(Debug)]
struct MeasuredPlace(Box<dyn Place>);

#[async_trait]
impl Harness for Measured {
    fn flavour(&self) -> String {
        format!("{} measured", self.0.flavour())
    }

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        Ok(Box::new(MeasuredPlace(self.0.place().await?)))
    }
}

#[async_trait]
impl Place for MeasuredPlace {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let gate = Gate::new(self.0.open(with).await?, GateOptions::default())?;
        Ok(Arc::new(MeasuredStore::new(Arc::new(gate))))
    }

    fn outlives_stores(&self) -> bool {
        self.0.outlives_stores()
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        self.0.residue().await
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        self.0.http_client()
    }
}

#[test]
fn a_measured_store_is_the_store_that_it_measures() {
    // One that presigns, and the drivers of this machine.
    run(&Measured(Arc::new(Honest))).assert_conforms();
    for row in rows().into_iter().filter(|row| !row.flavour.has_a_server()) {
        run(&Measured(row.harness)).assert_conforms();
    }
}
