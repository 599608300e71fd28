//! The generated pages of the documentation, made of the tables and of the document that the program itself is made of.
//! They must never know where they are kept: `artifactd docs` writes and compares them.

mod capabilities;
mod config;
mod document;
mod errors;
mod events;
mod markdown;
mod members;
mod methods;
mod routes;
mod shapes;

use artifact_store::StoreError;

use document::Document;

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The name of its file.
    pub name: &'static str,
    /// Everything in it.
    pub text: String,
}

/// Every page, by name.
///
/// # Errors
/// A mistake in a driver's table of options, or in an example.
pub fn pages() -> Result<Vec<Page>, StoreError> {
    let document = Document::new(crate::openapi::document());
    Ok(vec![
        Page { name: "capabilities.md", text: capabilities::page()? },
        Page { name: "config.md", text: config::page() },
        Page { name: "errors.md", text: errors::page() },
        Page { name: "events.md", text: events::page(&document)? },
        Page { name: "methods.md", text: methods::page(&document) },
        Page { name: "openapi.json", text: crate::openapi::text().to_owned() },
    ])
}
