//! The methods that read: get, download, stat, presigned URLs and listings.

use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ByteRange, ByteStream, Cursor, Flag, GetResult, ListQuery, PresignIntent, Record,
};
use artifact_store_protocol as wire;
use artifact_store_protocol::{
    GetRefRequest, GetRefResponse, GetRequest, GetResponse, ListRequest, ListResponse, PROTOCOL_VERSION,
    RequestScope, Row,
};
use futures_util::{StreamExt as _, stream};

use super::{Resolver, parse_id};
use crate::caller::Caller;
use crate::policy::{self, Permission, authorize};
use crate::refusal::{Operation, Refusal, presign_unsupported};

/// The result of a download.
#[derive(Debug)]
pub struct DownloadResult {
    /// The artifact's record.
    pub record: Record,
    /// The range of the artifact's bytes that `stream` contains: the requested range, cut at the end of the artifact.
    pub range: std::ops::Range<u64>,
    /// The bytes of `range`.
    pub stream: ByteStream,
}

impl Resolver {
    /// `artifacts.get`.
    ///
    /// # Errors
    /// `invalid_request`, `identity_required`, `not_found`, `runtime_error`.
    pub async fn get(&self, caller: &Caller, request: GetRequest) -> Result<GetResponse, Refusal> {
        let id = parse_id(&request.id)?;
        let permission: Permission<policy::Get> = authorize(caller, request.scope.parts()?)?;
        let max_length = self.options.fetch_hard_max_bytes;
        // A `max_bytes` of 0 means the same as no `max_bytes`.
        let length = match request.max_bytes.unwrap_or_default() {
            0 => self.options.fetch_default_max_bytes.min(max_length),
            bytes => bytes.min(max_length),
        };
        let offset = request.offset.unwrap_or_default();
        let range = ByteRange::Bounded { start: offset, end: offset.saturating_add(length) };
        let DownloadResult { record, range, stream } = self.read(permission, id, Some(range)).await?;
        let content = stream.collect_bytes(max_length).await;
        let content = content.map_err(|error| Refusal::from_store_error(error, Operation::Read))?;
        Ok(GetResponse {
            artifact: record.artifact_ref(),
            offset,
            returned_bytes: content.len() as u64,
            total_size_bytes: record.size,
            truncated: range.end < record.size,
            content,
            protocol_version: PROTOCOL_VERSION,
        })
    }

    /// Reads an artifact of the caller's own session as a stream. An empty `task` means no task. `None` as `range`
    /// means the whole artifact.
    ///
    /// The call waits for the first bytes. If the store fails before the first bytes, the call returns a refusal. If
    /// the store fails later, the stream returns the error.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `runtime_error`. A stream that ends before the end of the range always ends with
    /// the store's error.
    pub async fn download(
        &self,
        caller: &Caller,
        task: &str,
        id: &str,
        range: Option<ByteRange>,
    ) -> Result<DownloadResult, Refusal> {
        let id = parse_id(id)?;
        let permission: Permission<policy::Get> = authorize(caller, RequestScope::of_task(task).parts()?)?;
        let DownloadResult { record, range, mut stream } = self.read(permission, id, range).await?;
        let first = stream.next().await.transpose();
        let first = first.map_err(|error| Refusal::from_store_error(error, Operation::Read))?;
        let stream = match first {
            // The store has returned every byte, so its stream is no longer needed.
            Some(first) if first.len() as u64 == range.end - range.start => ByteStream::from_bytes(first),
            // The returned stream yields the first chunk again, then the chunks that are not read yet.
            first => ByteStream::new(stream::iter(first.map(Ok)).chain(stream)),
        };
        Ok(DownloadResult { record, range, stream })
    }

    /// Returns the record of an artifact of the caller's own session. An empty `task` means no task.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `runtime_error`.
    pub async fn stat(&self, caller: &Caller, task: &str, id: &str) -> Result<Record, Refusal> {
        let id = parse_id(id)?;
        let permission: Permission<policy::Get> = authorize(caller, RequestScope::of_task(task).parts()?)?;
        let scope = permission.into_audited_target(&self.bus);
        let Some(id) = id else { return Err(Refusal::not_found()) };
        let record = self.store.stat(&scope, &id).await;
        record
            .map_err(|error| Refusal::from_store_error(error, Operation::Read))?
            .ok_or_else(Refusal::not_found)
    }

    /// Reads an artifact that `permission` gives access to. `None` as `id` means that the text in the request is not an
    /// id; the refusal is then `not_found`. `None` as `range` means the whole artifact.
    async fn read(
        &self,
        permission: Permission<policy::Get>,
        id: Option<ArtifactId>,
        range: Option<ByteRange>,
    ) -> Result<DownloadResult, Refusal> {
        let scope = permission.into_audited_target(&self.bus);
        let Some(id) = id else { return Err(Refusal::not_found()) };
        let get = self.store.get(&scope, &id, range).await;
        let get = get.map_err(|error| Refusal::from_store_error(error, Operation::Read))?;
        let GetResult { record, range, stream } = get.ok_or_else(Refusal::not_found)?;
        Ok(DownloadResult { record, range, stream })
    }

    /// `artifacts.get_ref`.
    ///
    /// # Errors
    /// `invalid_request`, `identity_required`, `not_found`, `presign_unsupported` (only if the artifact exists),
    /// `runtime_error`.
    pub async fn get_ref(&self, caller: &Caller, request: GetRefRequest) -> Result<GetRefResponse, Refusal> {
        let id = parse_id(&request.id)?;
        let expiry = request.expiry_nanos()?.map(Duration::from_nanos);
        let permission: Permission<policy::GetRef> = authorize(caller, request.scope.parts()?)?;
        let scope = permission.into_audited_target(&self.bus);
        let Some(id) = id else { return Err(Refusal::not_found()) };
        let record = self.store.stat(&scope, &id).await;
        let record = record.map_err(|error| Refusal::from_store_error(error, Operation::Read))?;
        let record = record.ok_or_else(Refusal::not_found)?;
        let capabilities = self.store.capabilities();
        if !capabilities.has(Flag::PresignGet) {
            return Err(presign_unsupported());
        }
        // The default expiry is shortened to the longest expiry of the store. A requested expiry is not shortened: if
        // it is too long, the store refuses it.
        let expiry = expiry.unwrap_or_else(|| {
            Duration::from_nanos(wire::DEFAULT_EXPIRY_NANOS).min(capabilities.presign_expiry_limit())
        });
        let presigned = self.store.presign(&scope, &PresignIntent::Get { id }, expiry).await;
        let presigned = presigned.map_err(|error| Refusal::from_store_error(error, Operation::Presign))?;
        let presigned = presigned.ok_or_else(Refusal::not_found)?;
        Ok(GetRefResponse {
            artifact: record.artifact_ref(),
            presigned_url: presigned.url.reveal().to_owned(),
            expires_at: presigned.expires_at,
            protocol_version: PROTOCOL_VERSION,
        })
    }

    /// `artifacts.list`.
    ///
    /// # Errors
    /// `invalid_request` (a cursor that was altered or belongs to another query, a filter with too many or too long
    /// values, a scan over too many artifacts), `identity_required`, `identity_scope_required`, `runtime_error`.
    pub async fn list(&self, caller: &Caller, request: ListRequest) -> Result<ListResponse, Refusal> {
        let permission: Permission<policy::List> = authorize(caller, request.scope.parts()?)?;
        let pattern = permission.into_audited_target(&self.bus);
        let mut query = ListQuery::new(pattern).with_filter(request.filter()).with_total();
        // A limit of 0 means the same as no limit in the request.
        if let Some(limit) = request.limit.filter(|limit| *limit > 0) {
            query = query.with_limit(u32::try_from(limit).unwrap_or(u32::MAX));
        }
        // An empty cursor means the same as no cursor: the first page.
        let cursor = request.cursor.filter(|cursor| !cursor.is_empty()).map(Cursor::from_text);
        let page = self.store.list(&query.with_cursor(cursor)).await;
        let page = page.map_err(|error| Refusal::from_store_error(error, Operation::List))?;
        let driver = self.store.driver();
        Ok(ListResponse {
            next_cursor: page.next.as_ref().and_then(Cursor::as_text).map(ToOwned::to_owned),
            total_matched: page.total.unwrap_or_default(),
            rows: page.rows.into_iter().map(|record| Row::new(record, driver)).collect(),
            protocol_version: PROTOCOL_VERSION,
        })
    }
}
