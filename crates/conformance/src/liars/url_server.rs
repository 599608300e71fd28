//! A server for presigned URLs in the same process, without a network. A URL contains the number of a [`Grant`] and a
//! signature.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use artifact_store_core::{
    ArtifactId, ArtifactStore, BoxError, Clock, Digest, PresignedUrl, Scope, SystemClock, Timestamp,
    UploadIntent, async_trait, content_disposition, content_type,
};
use artifact_store_inmem::InmemStore;
use bytes::Bytes;

use super::lock;
use crate::harness::{HttpClient, HttpResponse};

/// Announced uploads that are not committed, by scope and id.
pub(super) type StagedUploads = Arc<Mutex<HashMap<(Scope, ArtifactId), StagedUpload>>>;

/// An upload that was announced. `received` contains the bytes that arrived last. It is `None` if no bytes arrived, or
/// if a commit has discarded them.
#[derive(Debug)]
pub(super) struct StagedUpload {
    pub(super) intent: UploadIntent,
    pub(super) received: Option<Bytes>,
}

impl StagedUpload {
    /// Returns whether `body` has the announced size and digest.
    fn matches_intent(&self, body: &Bytes) -> bool {
        self.intent.size == body.len() as u64 && self.intent.digest == Digest::of(body)
    }
}

/// What a presigned URL allows.
#[derive(Debug, Clone)]
pub(super) enum Grant {
    Get { store: Arc<InmemStore>, scope: Scope, id: ArtifactId },
    Put { uploads: StagedUploads, key: (Scope, ArtifactId) },
}

/// Serves the presigned URLs of one backend. The number in a URL is the index of the URL in this list.
#[derive(Debug, Default)]
pub(super) struct UrlServer(Mutex<Vec<IssuedUrl>>);

/// A URL that was created.
#[derive(Debug)]
struct IssuedUrl {
    grant: Grant,
    signature: String,
    expires_at: Timestamp,
}

/// The lies that a server tells. For an honest server, every field is false.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is one lie.
pub(super) struct UrlServerLies {
    /// A URL for a download serves every method.
    pub(super) any_method: bool,
    /// Every signature is accepted.
    pub(super) any_signature: bool,
    /// The signature of one URL is accepted for every other URL.
    pub(super) signature_of_any_url: bool,
    /// An upload of other bytes than announced is accepted.
    pub(super) any_upload: bool,
    /// A download is served inline instead of as an attachment.
    pub(super) inline_downloads: bool,
}

fn empty_response(status: u16) -> HttpResponse {
    HttpResponse { status, headers: Vec::new(), body: Bytes::new() }
}

impl UrlServer {
    /// Stores a grant and returns its URL.
    pub(super) fn create_url(&self, grant: Grant, expires_at: Timestamp) -> PresignedUrl {
        let mut issued = lock(&self.0);
        let number = issued.len();
        // A signature needs no secret, because no check tries to guess a signature. It only has to differ for every
        // URL.
        let signature = Digest::of(format!("{number} {expires_at}").as_bytes()).to_hex();
        let url = PresignedUrl::new(format!("mem://{number}?Signature={signature}"));
        issued.push(IssuedUrl { grant, signature, expires_at });
        url
    }

    /// Returns the grant of a URL if the signature is right and the URL has not expired. Otherwise returns `None`.
    /// Some `lies` make the server accept other signatures too.
    pub(super) fn find_grant(&self, url: &str, lies: UrlServerLies) -> Option<Grant> {
        let (number, signature) = url.strip_prefix("mem://")?.split_once("?Signature=")?;
        let issued = lock(&self.0);
        let issued_url = issued.get(number.parse::<usize>().ok()?)?;
        let is_signature_of_any_url = issued.iter().any(|other| other.signature == signature);
        let is_accepted = signature == issued_url.signature
            || lies.any_signature
            || (lies.signature_of_any_url && is_signature_of_any_url);
        let is_expired = SystemClock.now() >= issued_url.expires_at;
        if is_accepted && !is_expired { Some(issued_url.grant.clone()) } else { None }
    }

    /// Handles one request, and tells `lies`.
    pub(super) async fn handle_request(
        &self,
        method: &str,
        url: &str,
        body: Bytes,
        lies: UrlServerLies,
    ) -> Result<HttpResponse, BoxError> {
        let Some(grant) = self.find_grant(url, lies) else { return Ok(empty_response(403)) };
        Ok(match (method, grant) {
            ("GET", Grant::Get { store, scope, id }) => download(&store, &scope, &id, lies).await?,
            (_, Grant::Get { store, scope, id }) if lies.any_method => {
                download(&store, &scope, &id, lies).await?
            }
            // Like some storages, this server keeps the bytes of a refused upload. So the commit must verify the bytes.
            ("PUT", Grant::Put { uploads, key }) => {
                let mut uploads = lock(&uploads);
                let Some(upload) = uploads.get_mut(&key) else { return Ok(empty_response(404)) };
                let is_accepted = upload.matches_intent(&body) || lies.any_upload;
                upload.received = Some(body);
                empty_response(if is_accepted { 200 } else { 400 })
            }
            _ => empty_response(405),
        })
    }
}

/// Responds with the bytes of an artifact, or with 404 if the artifact does not exist.
async fn download(
    store: &InmemStore,
    scope: &Scope,
    id: &ArtifactId,
    lies: UrlServerLies,
) -> Result<HttpResponse, BoxError> {
    let Some(get) = store.get(scope, id, None).await? else { return Ok(empty_response(404)) };
    let (filename, media_type) =
        (get.record.options.filename.as_deref(), get.record.options.media_type.as_deref());
    let disposition = if lies.inline_downloads {
        "inline".to_owned()
    } else {
        content_disposition(filename, media_type, false)
    };
    let headers = vec![
        ("content-type".to_owned(), content_type(media_type).to_owned()),
        ("content-disposition".to_owned(), disposition),
    ];
    Ok(HttpResponse { status: 200, headers, body: get.stream.collect_bytes(u64::MAX).await? })
}

#[async_trait]
impl HttpClient for UrlServer {
    async fn request(
        &self,
        method: &str,
        url: &str,
        _headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, BoxError> {
        self.handle_request(method, url, body, UrlServerLies::default()).await
    }
}
