//! A driver outside this repository: registered by name, opened by URL, behind the same Gate.

use std::sync::Arc;

use artifact_store::core::{OptionKind, OptionSpec, Options, async_trait};
use artifact_store::prelude::*;
use artifact_store::{
    Capabilities, Clock, Driver, DriverInfo, SweepMode, SweepSummary, UrlForm, drivers, open, open_with,
    sweep_with,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

#[derive(Debug)]
struct OwnDriver;

static INFO: DriverInfo = DriverInfo {
    name: "own",
    about: "a third-party driver",
    options: &[OptionSpec {
        name: "shelf",
        kind: OptionKind::Choice(&["top", "bottom"]),
        default: None,
        required: true,
        about: "which shelf to use",
    }],
    url: UrlForm::Path("shelf"),
    bytes_cannot_change: false,
};

#[async_trait]
impl Driver for OwnDriver {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn capabilities(&self, _options: &Options) -> Capabilities {
        Capabilities::new()
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        assert_eq!(options.text("shelf"), Some("top"));
        Ok(Arc::new(InmemStore::new(InmemConfig::new().clock(clock))))
    }

    async fn sweep(&self, _: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        // The number shows which mode was passed.
        Ok(SweepSummary::new(if mode.deletes() { 7 } else { 8 }))
    }
}

#[tokio::test]
async fn a_registered_driver_opens_by_its_name_beside_the_compiled_in_ones() {
    let mut registry = drivers().unwrap();
    registry.register(Arc::new(OwnDriver)).unwrap();
    let store = open_with(&registry, &"own:top".parse().unwrap()).await.unwrap();
    let scope = Scope::new("t", "u", "s").unwrap();
    let put = store.put_text(&scope, "hello", PutOptions::default()).await.unwrap();
    assert!(store.exists(&scope, &put.record.id).await.unwrap());
    assert!(open_with(&registry, &"inmem:".parse().unwrap()).await.is_ok());

    for (mode, leftovers) in [(SweepMode::Delete, 7), (SweepMode::DryRun, 8)] {
        let summary = sweep_with(&registry, &"own:top".parse().unwrap(), mode).await.unwrap();
        assert_eq!(summary, SweepSummary::new(leftovers));
    }

    let error = open_with(&registry, &"own:middle".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("it takes one of top, bottom"), "{error}");
    let error = open(&"own:top".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("there is no driver 'own'"), "nothing registers itself: {error}");
}
