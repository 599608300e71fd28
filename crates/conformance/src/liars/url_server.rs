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
    fn is_announced(&self, body: &Bytes) -> bool {
        self.intent.size == body.len() as u64 && self.intent.digest == Digest::of(body)
    }
}

/// What a presigned URL allows.
#[derive(Debug, Clone)]
pub(super) enum Grant {
    Get { store: Arc<InmemStore>, scope: Scope, id: ArtifactId },
    Put { uploads: StagedUploads, key: (Scope, ArtifactId) },
}

/// Serves the presigned URLs of one backend. The number in a URL is its index in this list.
#[derive(Debug, Default)]
pub(super) struct UrlServer(Mutex<Vec<IssuedUrl>>);

/// A URL that was created.
#[derive(Debug)]
struct IssuedUrl {
    grant: Grant,
    signature: String,
    expires_at: Timestamp,
}

/// The checks that a server skips, each because of one lie.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is one lie.
pub(super) struct SkippedChecks {
    /// A URL for a download serves every method.
    pub(super) method: bool,
    /// Every signature is accepted.
    pub(super) signature: bool,
    /// The signature of one URL is accepted for every other URL.
    pub(super) key: bool,
    /// An upload of other bytes than announced is accepted.
    pub(super) body: bool,
    /// A download is served inline instead of as an attachment.
    pub(super) disposition: bool,
}

fn respond(status: u16, body: Bytes) -> HttpResponse {
    HttpResponse { status, headers: Vec::new(), body }
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
    /// `skipped` may make the server accept other signatures too.
    pub(super) fn find_grant(&self, url: &str, skipped: SkippedChecks) -> Option<Grant> {
        let (number, signature) = url.strip_prefix("mem://")?.split_once("?Signature=")?;
        let issued = lock(&self.0);
        let issued_url = issued.get(number.parse::<usize>().ok()?)?;
        let is_signature_of_any_url = issued.iter().any(|other| other.signature == signature);
        let is_accepted = signature == issued_url.signature
            || skipped.signature
            || (skipped.key && is_signature_of_any_url);
        let is_expired = SystemClock.now() >= issued_url.expires_at;
        if is_accepted && !is_expired { Some(issued_url.grant.clone()) } else { None }
    }

    /// Handles one request, without the checks in `skipped`.
    pub(super) async fn handle_request(
        &self,
        method: &str,
        url: &str,
        body: Bytes,
        skipped: SkippedChecks,
    ) -> Result<HttpResponse, BoxError> {
        let Some(grant) = self.find_grant(url, skipped) else { return Ok(respond(403, Bytes::new())) };
        Ok(match (method, grant) {
            ("GET", Grant::Get { store, scope, id }) => download(&store, &scope, &id, skipped).await?,
            (_, Grant::Get { store, scope, id }) if skipped.method => {
                download(&store, &scope, &id, skipped).await?
            }
            // Like some storages, this server keeps the bytes of a refused upload. So the commit must verify the bytes.
            ("PUT", Grant::Put { uploads, key }) => {
                let mut uploads = lock(&uploads);
                let Some(upload) = uploads.get_mut(&key) else { return Ok(respond(404, Bytes::new())) };
                let is_accepted = upload.is_announced(&body) || skipped.body;
                upload.received = Some(body);
                respond(if is_accepted { 200 } else { 400 }, Bytes::new())
            }
            _ => respond(405, Bytes::new()),
        })
    }
}

/// Responds with the bytes of an artifact, or with 404 if the artifact does not exist.
async fn download(
    store: &InmemStore,
    scope: &Scope,
    id: &ArtifactId,
    skipped: SkippedChecks,
) -> Result<HttpResponse, BoxError> {
    let Some(get) = store.get(scope, id, None).await? else { return Ok(respond(404, Bytes::new())) };
    let (filename, media_type) =
        (get.record.options.filename.as_deref(), get.record.options.media_type.as_deref());
    let disposition = if skipped.disposition {
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
        self.handle_request(method, url, body, SkippedChecks::default()).await
    }
}
