//! The methods that change what is stored: put, upload and delete. Each method publishes its event after the store has
//! confirmed the change. A put of an artifact that already exists publishes no event.

use artifact_store_core::{Body, ErrorKind, PutOutcome, Record, StoreError};
use artifact_store_protocol::{
    Code, DeleteRequest, DeleteResponse, EventPayload, PROTOCOL_VERSION, PutOpts, PutRequest, PutResponse,
    RequestScope, SizeLimit,
};

use super::{Resolver, parse_id};
use crate::caller::Caller;
use crate::inspect::{Upload, inspect_body};
use crate::policy::{self, Permission, authorize};
use crate::refusal::{Operation, Refusal};

/// The result of an upload.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadResult {
    /// The artifact's record. If the artifact already existed, this is its existing record.
    pub record: Record,
    /// Whether the artifact is new.
    pub created: bool,
}

impl Resolver {
    /// `artifacts.put`.
    ///
    /// # Errors
    /// `invalid_request`, `identity_required`, `scope_mismatch`, `payload_invalid`, `request_too_large`,
    /// `runtime_error`.
    pub async fn put(&self, caller: &Caller, request: PutRequest) -> Result<PutResponse, Refusal> {
        let PutRequest { scope, bytes, opts } = request;
        let body = Body::from_bytes(bytes);
        let uploaded = self.store_body(caller, &scope, opts, body, self.put_limit()).await?;
        Ok(PutResponse::new(&uploaded.record))
    }

    /// Stores a streamed body in the caller's own session. An empty `task` means no task.
    ///
    /// The upload is atomic. A refused upload leaves nothing in the store. If the future is
    /// dropped, the artifact exists as a whole or not at all. If the artifact exists, its event may be missing.
    ///
    /// # Errors
    /// As [`put`](Self::put). Also `invalid_request` if the body fails, ends early, or does not match its announced
    /// length or digest.
    pub async fn upload(
        &self,
        caller: &Caller,
        task: &str,
        opts: PutOpts,
        body: Body,
    ) -> Result<UploadResult, Refusal> {
        self.store_body(caller, &RequestScope::of_task(task), opts, body, self.upload_limit()).await
    }

    /// Checks, authorizes and inspects a put or an upload, and stores its body. If the artifact is new, publishes an
    /// event. `limit` is the largest size of the body.
    async fn store_body(
        &self,
        caller: &Caller,
        scope: &RequestScope,
        opts: PutOpts,
        body: Body,
        limit: SizeLimit,
    ) -> Result<UploadResult, Refusal> {
        // An invalid scope, namespace or media type is refused before the authorization. The other options are checked
        // after the authorization.
        let requested = scope.parts()?;
        opts.namespace()?;
        opts.media_type()?;
        let permission: Permission<policy::Put> = authorize(caller, requested)?;
        let options = opts.into_options()?;
        if body.length().is_some_and(|length| length > limit.bytes) {
            return Err(limit.refusal().into());
        }
        let mut body = body.with_limit(limit.bytes);
        let scope = permission.into_audited_target(&self.bus);
        if let Some(inspector) = &self.options.inspector {
            let upload = Upload { scope: &scope, options: &options, length: body.length() };
            let inspection = inspector.begin(upload).await;
            let inspection = inspection
                .map_err(|rejection| Refusal::new(Code::PayloadInvalid, rejection.message().clone()))?;
            if let Some(inspection) = inspection {
                body = inspect_body(body, inspection)
                    .map_err(|error| Refusal::from_store_error(error, Operation::Put))?;
            }
        }
        let put = self.store.put(&scope, body, options).await;
        let put = put.map_err(|error| refusal_of_put(error, limit))?;
        let created = put.outcome == PutOutcome::Created;
        if created {
            let record = &put.record;
            let payload = EventPayload::Uploaded {
                artifact: record.artifact_ref(),
                tags: record.options.tags.clone(),
                source: record.options.source,
                created_at: record.created_at,
            };
            self.bus.publish(scope, payload);
            self.bus.flush().await;
        }
        Ok(UploadResult { record: put.record, created })
    }

    /// `artifacts.delete`.
    ///
    /// # Errors
    /// `invalid_request`, `identity_scope_required`, `identity_required`, `not_found`, `runtime_error`.
    pub async fn delete(&self, caller: &Caller, request: DeleteRequest) -> Result<DeleteResponse, Refusal> {
        let id = parse_id(&request.id)?;
        let permission: Permission<policy::Delete> = authorize(caller, request.scope.parts()?)?;
        let scope = permission.into_audited_target(&self.bus);
        let Some(id) = id else { return Err(Refusal::not_found()) };
        let deleted = self.store.delete(&scope, &id).await;
        let existed = deleted.map_err(|error| Refusal::from_store_error(error, Operation::Delete))?;
        if !existed {
            return Err(Refusal::not_found());
        }
        self.bus.publish(scope, EventPayload::Deleted { id });
        self.bus.flush().await;
        Ok(DeleteResponse { deleted: true, protocol_version: PROTOCOL_VERSION })
    }
}

/// The refusal of a put that failed with `error`. A body that exceeds `limit` while it arrives gets the same message as
/// a body whose announced length exceeds `limit`.
fn refusal_of_put(error: StoreError, limit: SizeLimit) -> Refusal {
    match error.kind() {
        ErrorKind::TooLarge { limit: bytes } if bytes == limit.bytes => {
            Refusal::from(limit.refusal()).with_cause(error)
        }
        _ => Refusal::from_store_error(error, Operation::Put),
    }
}
