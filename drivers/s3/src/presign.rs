//! Presigned URLs: a download of one artifact, an upload of one announced body.
//!
//! Signing is a local computation. To presign a download takes one request, which reads the record, or two requests if
//! the artifact has a record object. To presign an upload takes one request, which stores the upload's intent.
//!
//! **Download.** A signed GET of exactly one key. The response headers are signed into the URL, so the holder cannot
//! change them. Core makes the headers for media type and file name from the record. The disposition is always
//! `attachment`, so that a browser saves uploaded content and never runs it. `Cache-Control: private` keeps the content
//! out of shared caches. Some servers (Garage 2.5) ignore these headers when they answer a range request, so the object
//! is also stored with `Content-Disposition: attachment`. A URL names an object's key, not bytes. So after the artifact
//! is deleted, its URL returns an error.
//!
//! **What a download reveals.** The response contains the object's user metadata: the encrypted record and the mark. In
//! a store of format 1, the record is in clear text, and the holder of the URL can read scope, tags and metadata of
//! this one artifact.
//!
//! **Expiry.** `expires_at` is the earlier of two times: the requested expiry, and the expiry of the credentials that
//! sign the URL. The storage refuses a URL when these credentials have expired, even if the URL itself allows a longer
//! time. The start and the duration of the validity are computed from the same moment and rounded down to whole
//! seconds. So the storage never accepts a URL after `expires_at`. If cached credentials expire too soon, the provider
//! is asked for new ones. If the new credentials expire within a minute and before the requested expiry, the call fails
//! with `Unavailable`, because a URL that expires at once is useless.
//!
//! **Endpoint.** If the option `presign_endpoint` is set, URLs contain this address, because clients may reach the
//! storage at another address than this process. The signature covers the host, so clients cannot replace the host.
//!
//! This module must never know how an upload becomes an artifact.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, PresignIntent, PresignedRequest, Scope, StoreError, content_disposition, content_type,
};

use crate::config::MAX_PRESIGN_EXPIRY;
use crate::error::Operation;
use crate::presigned_upload;
use crate::state::StoreState;
use crate::url_signer::Download;

/// Signs a URL for `intent`. `None` if the artifact does not exist.
pub(crate) async fn presign(
    state: &Arc<StoreState>,
    scope: &Scope,
    intent: &PresignIntent,
    expiry: Duration,
) -> Result<Option<PresignedRequest>, StoreError> {
    if !state.config.capabilities().has(intent.flag()) {
        return Err(StoreError::unsupported(intent.flag()));
    }
    if expiry < Duration::from_secs(1) || expiry > MAX_PRESIGN_EXPIRY {
        return Err(StoreError::invalid("a presigned URL is valid for at least 1 second and at most 7 days"));
    }
    match intent {
        PresignIntent::Get { id } => presign_get(state, scope, id, expiry).await,
        PresignIntent::Put(intent) => {
            presigned_upload::presign_put(state, scope, intent, expiry).await.map(Some)
        }
    }
}

/// Signs the URL of a download. `None` if the artifact does not exist.
async fn presign_get(
    state: &StoreState,
    scope: &Scope,
    id: &ArtifactId,
    expiry: Duration,
) -> Result<Option<PresignedRequest>, StoreError> {
    let Some(record) = state.stat(scope, id).await? else {
        state.check_bucket().await?;
        return Ok(None);
    };
    let (filename, media_type) = (record.options.filename.as_deref(), record.options.media_type.as_deref());
    let inline = false;
    let object_key = state.layout.artifact_key(scope, id);
    let download = Download {
        key: &object_key,
        cache_control: "private",
        content_disposition: &content_disposition(filename, media_type, inline),
        content_type: content_type(media_type),
    };
    let (validity, key) = state.presign_credentials.get(expiry, state.config.request_timeout).await?;
    if let Some(url) = key.sign(&download, &validity) {
        return Ok(Some(validity.request_without_headers(url)));
    }
    let request = state
        .presign_client()
        .get_object()
        .bucket(&state.bucket)
        .key(download.key)
        .response_cache_control(download.cache_control)
        .response_content_disposition(download.content_disposition)
        .response_content_type(download.content_type)
        .customize()
        .config_override(key.client_config())
        .presigned(validity.presigning_config()?)
        .await
        .map_err(|error| state.request_error(Operation::read("signing a URL"), error))?;
    key.learn(request.uri(), &download, &validity);
    Ok(Some(validity.presigned_request(&request)))
}
