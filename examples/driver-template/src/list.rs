//! Lists records in the order of [`Position`](artifact_store_core::Position).

use artifact_store_core::{ListQuery, Page, StoreError};

use crate::config::TemplateConfig;
use crate::error::unwritten;

/// Lists one page of `query`.
pub(crate) async fn list(config: &TemplateConfig, query: &ListQuery) -> Result<Page, StoreError> {
    let _ = config;
    let _after = query.position()?;
    let task = "walk the keys of `Position::sort_key` after this position and return `Page::new`";
    Err(unwritten("list", "src/list.rs", task))
}
