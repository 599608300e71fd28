//! List Blobs.

use std::collections::BTreeSet;

use http::Response;

use super::auth::Grant;
use super::container::Container;
use super::error::{Failure, bad_request};
use super::properties::{Properties, http_date};
use super::target::Target;
use super::xml_response;
use crate::http_server::Body;
use crate::xml;

/// The largest page, and the default.
const MAX_RESULTS: usize = 5000;

/// An entry of a page.
enum Entry {
    Blob(Properties),
    /// A blob that has nothing but uncommitted blocks.
    Uncommitted(String),
    Prefix(String),
}

pub(super) fn list(container: &Container, target: &Target, grant: &Grant) -> Result<Response<Body>, Failure> {
    grant.require("l")?;
    let parameter = |name| target.query.get(name).filter(|value| !value.is_empty());
    let asked = parameter("maxresults").map(str::parse::<usize>).transpose();
    let asked = asked
        .ok()
        .filter(|asked| *asked != Some(0))
        .ok_or_else(|| bad_request("OutOfRangeQueryParameterValue", "maxresults is a number from 1 on"))?;
    let limit = asked.unwrap_or(MAX_RESULTS).min(MAX_RESULTS);
    let prefix = parameter("prefix").unwrap_or_default();
    // A marker is the name with which the page begins. It is stable while blobs come and go.
    let first = parameter("marker").or_else(|| parameter("startFrom")).unwrap_or_default();
    let includes_uncommitted = parameter("include").is_some_and(|list| list.contains("uncommittedblobs"));
    let uncommitted = if includes_uncommitted { container.uncommitted()? } else { Vec::new() };

    let index = container.index();
    let names = index.keys().chain(&uncommitted).map(String::as_str);
    let names: BTreeSet<&str> = names.filter(|name| name.starts_with(prefix) && *name >= first).collect();
    let (mut entries, mut next) = (Vec::new(), None);
    for name in names {
        let folded = parameter("delimiter").and_then(|delimiter| {
            let at = name[prefix.len()..].find(delimiter)?;
            Some(&name[..prefix.len() + at + delimiter.len()])
        });
        if let (Some(folded), Some(Entry::Prefix(last))) = (folded, entries.last())
            && folded == last
        {
            continue;
        }
        if entries.len() == limit {
            next = Some(name.to_owned());
            break;
        }
        entries.push(match (folded, index.get(name)) {
            (Some(folded), _) => Entry::Prefix(folded.to_owned()),
            (None, Some(blob)) => Entry::Blob(blob.clone()),
            (None, None) => Entry::Uncommitted(name.to_owned()),
        });
    }
    drop(index);

    let mut document = format!(
        "{}<EnumerationResults ContainerName=\"{}\">",
        xml::DECLARATION,
        xml::escape(&target.container)
    );
    for (element, name) in [("Prefix", "prefix"), ("Marker", "marker"), ("Delimiter", "delimiter")] {
        xml::element(&mut document, element, parameter(name).unwrap_or_default());
    }
    xml::element(&mut document, "MaxResults", &limit.to_string());
    document.push_str("<Blobs>");
    for entry in &entries {
        write_entry(&mut document, entry);
    }
    document.push_str("</Blobs>");
    xml::element(&mut document, "NextMarker", next.as_deref().unwrap_or_default());
    document.push_str("</EnumerationResults>");
    Ok(xml_response(document))
}

fn write_entry(document: &mut String, entry: &Entry) {
    match entry {
        Entry::Prefix(prefix) => {
            document.push_str("<BlobPrefix>");
            xml::element(document, "Name", prefix);
            document.push_str("</BlobPrefix>");
        }
        Entry::Blob(blob) => {
            let content_type = blob.attributes.headers.get("content-type").map(String::as_str);
            document.push_str("<Blob>");
            xml::element(document, "Name", &blob.name);
            document.push_str("<Properties>");
            xml::element(document, "Creation-Time", &http_date(blob.created));
            xml::element(document, "Last-Modified", &http_date(blob.modified));
            // A listing has no quotes around the tag.
            xml::element(document, "Etag", blob.etag.trim_matches('"'));
            xml::element(document, "Content-Length", &blob.length.to_string());
            xml::element(document, "Content-Type", content_type.unwrap_or("application/octet-stream"));
            xml::element(document, "BlobType", "BlockBlob");
            document.push_str("</Properties></Blob>");
        }
        Entry::Uncommitted(name) => {
            document.push_str("<Blob>");
            xml::element(document, "Name", name);
            document.push_str("<Properties>");
            xml::element(document, "Content-Length", "0");
            xml::element(document, "BlobType", "BlockBlob");
            document.push_str("</Properties></Blob>");
        }
    }
}
