//! Get Blob, Get Blob Properties and Get Block List.

use futures_util::stream;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, Take};

use data_encoding::BASE64;

use super::auth::{Grant, text};
use super::conditions::{self, Access};
use super::container::Container;
use super::error::{Failure, refuse};
use super::target::Target;
use super::{blob_not_found, sas, xml_response};
use crate::Error;
use crate::http_server::{Body, full};
use crate::xml;

const CHUNK_BYTES: usize = 128 << 10;

pub(super) async fn read(
    container: &Container,
    target: &Target,
    head: &Parts,
    grant: &Grant,
) -> Result<Response<Body>, Failure> {
    grant.require("r")?;
    let Some((properties, file)) = container.read(&target.blob)? else { return Err(blob_not_found()) };
    conditions::check(&head.headers, Some(&properties), Access::Read)?;
    let asked = text(&head.headers, "x-ms-range").or_else(|| text(&head.headers, "range"));
    let range = asked.and_then(|asked| parse_range(asked, properties.length));
    let (start, end) = range.unwrap_or((0, properties.length));
    if range.is_some() && start >= end {
        let message = "the range begins at the end of the blob, or after it";
        return Err(refuse(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message));
    }
    let body = if head.method == Method::HEAD { full(Bytes::new()) } else { bytes(file, start, end).await? };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    properties.write_headers(headers)?;
    if let Grant::Sas(_) = grant {
        for (parameter, header) in sas::RESPONSE_HEADERS {
            if let Some(value) = target.query.get(parameter) {
                headers.insert(HeaderName::from_static(header), HeaderValue::from_str(value)?);
            }
        }
    }
    headers.insert("content-length", HeaderValue::from(end - start));
    if range.is_some() {
        let range = format!("bytes {start}-{}/{}", end - 1, properties.length);
        headers.insert("content-range", HeaderValue::from_str(&range)?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// The uncommitted blocks of a blob. The stand-in keeps no list of the committed ones.
pub(super) fn block_list(
    container: &Container,
    target: &Target,
    grant: &Grant,
) -> Result<Response<Body>, Failure> {
    grant.require("r")?;
    let ids = container.block_ids(&target.blob)?;
    if ids.is_empty() && container.read(&target.blob)?.is_none() {
        return Err(blob_not_found());
    }
    let mut document = format!("{}<BlockList><UncommittedBlocks>", xml::DECLARATION);
    for id in ids {
        let length = std::fs::metadata(container.block_path(&target.blob, &id))?.len();
        document.push_str("<Block>");
        xml::element(&mut document, "Name", &BASE64.encode(&id));
        xml::element(&mut document, "Size", &length.to_string());
        document.push_str("</Block>");
    }
    document.push_str("</UncommittedBlocks></BlockList>");
    Ok(xml_response(document))
}

/// The first byte and the byte after the last one. `None` if it is not a range that Azure knows: it is ignored. Azure knows
/// no range from the end. The range may begin after the blob, and then cannot be satisfied.
fn parse_range(text: &str, length: u64) -> Option<(u64, u64)> {
    let (start, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = if last.is_empty() { length } else { last.parse::<u64>().ok()?.saturating_add(1).min(length) };
    Some((start.parse().ok()?, end))
}

async fn bytes(file: std::fs::File, start: u64, end: u64) -> Result<Body, Error> {
    let mut file = File::from_std(file);
    file.seek(std::io::SeekFrom::Start(start)).await?;
    let frames = stream::try_unfold(file.take(end - start), |mut file: Take<File>| async move {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let limit = u64::try_from(CHUNK_BYTES)?;
        (&mut file).take(limit).read_to_end(&mut chunk).await?;
        let frame = (!chunk.is_empty()).then(|| Frame::data(Bytes::from(chunk)));
        Ok::<_, Error>(frame.map(|frame| (frame, file)))
    });
    Ok(StreamBody::new(frames).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_with_the_blob_at_the_latest() {
        assert_eq!(parse_range("bytes=2-4", 10), Some((2, 5)));
        assert_eq!(parse_range("bytes=2-", 10), Some((2, 10)));
        assert_eq!(parse_range("bytes=2-99", 10), Some((2, 10)));
        assert_eq!(parse_range("bytes=10-", 10), Some((10, 10)));
        assert_eq!(parse_range("bytes=0-", 0), Some((0, 0)));
        assert_eq!(parse_range("bytes=-3", 10), None);
    }
}
