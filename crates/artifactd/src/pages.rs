//! The generated pages of the documentation, made from the tables and the OpenAPI document of the program. This module
//! must never read or write a file: `artifactd docs` does that.

mod capabilities;
mod config;
mod document;
mod errors;
mod events;
mod markdown;
mod members;
mod methods;
mod routes;
mod types;

use artifact_store::{Registry, StoreError};

use document::Document;

/// A generated page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The name of the file.
    pub name: &'static str,
    /// The whole text of the file.
    pub text: String,
}

/// All pages, sorted by name. They describe the drivers of `registry`.
///
/// # Errors
/// The table of options of a driver, or an example, is wrong.
pub fn pages(registry: &Registry) -> Result<Vec<Page>, StoreError> {
    let document = Document::new(artifact_store_server::openapi::document());
    Ok(vec![
        Page { name: "capabilities.md", text: capabilities::page(registry)? },
        Page { name: "config.md", text: config::page() },
        Page { name: "errors.md", text: errors::page() },
        Page { name: "events.md", text: events::page(&document)? },
        Page { name: "methods.md", text: methods::page(&document) },
        Page { name: "openapi.json", text: artifact_store_server::openapi::text().to_owned() },
    ])
}
