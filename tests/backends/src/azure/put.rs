//! Put Blob, Put Block, Put Block List and Copy Blob.

use data_encoding::BASE64;
use http::request::Parts;
use http::{Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::auth::{self, Grant, text};
use super::conditions::{self, Access};
use super::container::{Container, Draft};
use super::error::{Failure, bad_request, forbidden, refuse};
use super::properties::{Attributes, Properties};
use super::target::Target;
use super::{StandIn, blob_not_found};
use crate::Error;
use crate::http_server::{Body, full};
use crate::xml;

const MAX_BLOCKS: usize = 50_000;
const MAX_BLOCK_ID_BYTES: usize = 64;
/// The lists that a block can be named from. The stand-in keeps no list of committed blocks.
const BLOCK_ELEMENTS: [&str; 3] = ["Committed", "Uncommitted", "Latest"];

pub(super) async fn put_blob(
    container: &Container,
    target: &Target,
    head: &Parts,
    grant: &Grant,
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    grant.require("wc")?;
    if text(&head.headers, "x-ms-blob-type") != Some("BlockBlob") {
        return Err(bad_request("InvalidHeaderValue", "the stand-in knows x-ms-blob-type BlockBlob alone"));
    }
    let attributes = Attributes::from_request(&head.headers, true)?;
    let draft = write_body(container, head, body).await?;
    let committed =
        container.commit(&target.blob, &draft, attributes, |blob| check_write(head, grant, blob))?;
    created(&committed)
}

pub(super) async fn put_block(
    container: &Container,
    target: &Target,
    head: &Parts,
    grant: &Grant,
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    grant.require("w")?;
    let id = block_id(target.query.get("blockid").unwrap_or_default())?;
    if container.block_ids(&target.blob)?.iter().any(|other| other.len() != id.len()) {
        let message = "the ids of all blocks of a blob have the same length";
        return Err(bad_request("InvalidBlobOrBlock", message));
    }
    let draft = write_body(container, head, body).await?;
    container.add_block(&target.blob, &id, &draft)?;
    status(StatusCode::CREATED)
}

pub(super) async fn put_block_list(
    container: &Container,
    target: &Target,
    head: &Parts,
    grant: &Grant,
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    grant.require("w")?;
    let attributes = Attributes::from_request(&head.headers, false)?;
    let document = body.collect().await?.to_bytes();
    let document = std::str::from_utf8(&document)
        .map_err(|_| bad_request("InvalidXmlDocument", "the list of blocks is not UTF-8"))?;
    let blocks = xml::elements(document, &BLOCK_ELEMENTS);
    if blocks.len() > MAX_BLOCKS {
        return Err(bad_request("BlockListTooLong", "a blob has at most 50 000 blocks"));
    }
    let draft = container.draft()?;
    let mut file = File::create(&draft.path).await?;
    for (list, id) in blocks {
        let id = block_id(&xml::unescape(id))?;
        let unknown = |message: &str| bad_request("InvalidBlockList", message);
        if list == "Committed" {
            return Err(unknown("the stand-in does not know blocks of a committed blob"));
        }
        let mut block = match File::open(container.block_path(&target.blob, &id)).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(unknown("a block of the list does not exist"));
            }
            block => block?,
        };
        tokio::io::copy(&mut block, &mut file).await?;
    }
    file.flush().await?;
    let committed =
        container.commit(&target.blob, &draft, attributes, |blob| check_write(head, grant, blob))?;
    created(&committed)
}

/// Copies a blob of the same account.
pub(super) async fn copy(
    stand_in: &StandIn,
    container: &Container,
    target: &Target,
    head: &Parts,
    grant: &Grant,
) -> Result<Response<Body>, Failure> {
    grant.require("wc")?;
    let source = text(&head.headers, "x-ms-copy-source").unwrap_or_default();
    let uri: Uri = source
        .parse()
        .map_err(|_| bad_request("InvalidHeaderValue", "x-ms-copy-source is not an address"))?;
    let source = Target::parse(&uri)?;
    if source.query.get("sig").is_some() {
        let mut reading = head.clone();
        reading.headers.remove("authorization");
        reading.uri = uri;
        auth::authenticate(stand_in, &reading, &source)?.require("r")?;
    } else if matches!(grant, Grant::Sas(_)) || source.account != stand_in.account {
        return Err(forbidden("CannotVerifyCopySource", "the request may not read the source"));
    }
    let from = stand_in.container(&source.container)?;
    let Some((properties, file)) = from.read(&source.blob)? else { return Err(blob_not_found()) };
    let own = Attributes::from_request(&head.headers, false)?;
    let metadata = if own.metadata.is_empty() { properties.attributes.metadata } else { own.metadata };
    let attributes = Attributes { headers: properties.attributes.headers, metadata };
    let draft = container.draft()?;
    let mut copied = File::create(&draft.path).await?;
    tokio::io::copy(&mut File::from_std(file).take(properties.length), &mut copied).await?;
    copied.flush().await?;
    let committed =
        container.commit(&target.blob, &draft, attributes, |blob| check_write(head, grant, blob))?;
    let mut response = created(&committed)?;
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert("x-ms-copy-status", http::HeaderValue::from_static("success"));
    Ok(response)
}

/// Writes the body of a request to a draft.
async fn write_body(container: &Container, head: &Parts, body: &mut Incoming) -> Result<Draft, Failure> {
    let announced = text(&head.headers, "content-length").and_then(|length| length.parse::<u64>().ok());
    let Some(announced) = announced else {
        let message = "the request has no Content-Length";
        return Err(refuse(StatusCode::LENGTH_REQUIRED, "MissingContentLengthHeader", message));
    };
    let draft = container.draft()?;
    let mut file = File::create(&draft.path).await?;
    let mut written = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            written += u64::try_from(bytes.len())?;
            file.write_all(&bytes).await?;
        }
    }
    file.flush().await?;
    if written != announced {
        return Err(Failure::Broken("the body ended early".into()));
    }
    Ok(draft)
}

/// The conditions of the request, and those of a SAS that may only create.
fn check_write(head: &Parts, grant: &Grant, blob: Option<&Properties>) -> Result<(), Failure> {
    conditions::check(&head.headers, blob, Access::Write)?;
    if blob.is_some() && grant.lacks("w") {
        return Err(forbidden("UnauthorizedBlobOverwrite", "the SAS may create a blob, and it exists"));
    }
    Ok(())
}

fn block_id(text: &str) -> Result<Vec<u8>, Failure> {
    let id = BASE64.decode(text.as_bytes()).ok();
    id.filter(|id| (1..=MAX_BLOCK_ID_BYTES).contains(&id.len())).ok_or_else(|| {
        bad_request("InvalidQueryParameterValue", "the id of a block is the base64 of 1 to 64 bytes")
    })
}

fn created(properties: &Properties) -> Result<Response<Body>, Failure> {
    let mut response = status(StatusCode::CREATED)?;
    properties.write_version_headers(response.headers_mut())?;
    Ok(response)
}

/// An answer without a body.
pub(super) fn status(status: StatusCode) -> Result<Response<Body>, Failure> {
    let response: Result<_, Error> = Ok(Response::builder().status(status).body(full(Bytes::new()))?);
    Ok(response?)
}
