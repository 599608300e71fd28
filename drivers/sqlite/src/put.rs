//! The jobs that write artifacts into the tables: [`PutArtifact`], [`AppendChunks`] and [`CommitUpload`].
//!
//! Each job runs a few statements within one transaction. This module must never begin or end a transaction, or send a
//! result.

use artifact_store_core::{
    ArtifactId, CompletedBody, PutOptions, PutOutcome, PutResult, Record, Scope, ScopeMark, StoreError,
    async_trait,
};
use bytes::Bytes;

use crate::job::{JobResult, WriteJob};
use crate::pending::{LeaseRenewal, StagedBlob, mark_for_deletion};
use crate::row::EncodedRecord;
use crate::transaction::WriteTransaction;
use crate::{row, schema};

/// An artifact to be stored, without its bytes.
#[derive(Debug)]
pub(crate) struct NewArtifact {
    pub(crate) scope: Scope,
    pub(crate) options: PutOptions,
    pub(crate) body: CompletedBody,
}

impl NewArtifact {
    /// Inserts the record and the tags of the artifact whose bytes are in `blob`. Returns the record, or `None` if the
    /// scope already has an artifact with this id.
    async fn insert_record(
        &self,
        transaction: &mut WriteTransaction<'_>,
        blob: i64,
    ) -> JobResult<Option<Record>> {
        let Self { scope, options, body } = self;
        // The clock is read here, under the write lock. So a later commit has no earlier `created_at`, unless the clock
        // is set back.
        let record =
            Record::new(scope.clone(), options.clone(), body.digest, body.size, transaction.clock.now());
        let encoded = match EncodedRecord::new(&record) {
            Ok(encoded) => encoded,
            Err(error) => return Ok(Err(error)),
        };
        let inserted = sqlx::query(
            "INSERT INTO artifact (blob, scope_mark, tenant, user, session, task, id, digest, size, created_at,
                 media_type, source, record, record_digest)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope_mark, id) DO NOTHING",
        )
        .bind(blob)
        .bind(&ScopeMark::of(scope).as_bytes()[..])
        .bind(scope.tenant().as_str())
        .bind(scope.user().as_str())
        .bind(scope.session().as_str())
        .bind(row::task_str(scope))
        .bind(record.id.as_str())
        .bind(&record.digest.as_bytes()[..])
        .bind(record.size.cast_signed())
        .bind(record.created_at.as_micros())
        .bind(options.media_type.as_deref().map(str::as_bytes))
        .bind(options.source.as_str())
        .bind(encoded.json)
        .bind(&encoded.digest.as_bytes()[..])
        .execute(&mut *transaction.conn)
        .await?
        .rows_affected();
        let id_exists = inserted == 0;
        if id_exists {
            return Ok(Ok(None));
        }
        if !options.tags.is_empty() {
            sqlx::query("INSERT OR IGNORE INTO tag SELECT ?, unhex(value) FROM json_each(?)")
                .bind(blob)
                .bind(row::hex_json_array(options.tags.iter().map(String::as_bytes)))
                .execute(&mut *transaction.conn)
                .await?;
        }
        Ok(Ok(Some(record)))
    }

    /// Returns the result of a put whose scope already has an artifact with this id: `AlreadyExists` if the artifact
    /// has the same bytes, or the error `Conflict` if it has other bytes.
    async fn result_for_existing(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<PutResult> {
        let id = ArtifactId::new(&self.options.namespace, &self.body.digest);
        let row = sqlx::query(concat!(
            "SELECT ",
            row::columns!(),
            " FROM artifact AS a WHERE a.scope_mark = ? AND a.id = ?"
        ))
        .bind(&ScopeMark::of(&self.scope).as_bytes()[..])
        .bind(id.as_str())
        .fetch_one(&mut *transaction.conn)
        .await?;
        let record = match row::decode(&row) {
            Ok((_blob, record)) => record,
            Err(error) => return Ok(Err(error)),
        };
        if record.scope != self.scope {
            return Ok(Err(StoreError::corrupt(
                "a row of the database is stored under the key of another scope",
            )));
        }
        if record.digest != self.body.digest {
            return Ok(Err(StoreError::conflict(
                "bytes with another SHA-256 exist under this id; put the new bytes into another namespace",
            )));
        }
        Ok(Ok(PutResult { record, outcome: PutOutcome::AlreadyExists }))
    }
}

/// Inserts `chunks` into `blob`. The first of them gets the index `first_index`.
async fn insert_chunks(
    transaction: &mut WriteTransaction<'_>,
    blob: i64,
    first_index: u64,
    chunks: &[Bytes],
) -> Result<(), sqlx::Error> {
    for (index, chunk) in (first_index..).zip(chunks) {
        sqlx::query("INSERT INTO chunk (key, data) VALUES (?, ?)")
            .bind(schema::chunk_key(blob, index))
            .bind(&chunk[..])
            .execute(&mut *transaction.conn)
            .await?;
    }
    Ok(())
}

fn total_bytes(chunks: &[Bytes]) -> usize {
    chunks.iter().map(Bytes::len).sum()
}

/// Stores the record and all chunks of a small artifact in one transaction.
pub(crate) struct PutArtifact {
    pub(crate) artifact: NewArtifact,
    /// All bytes of the artifact.
    pub(crate) chunks: Vec<Bytes>,
}

#[async_trait]
impl WriteJob for PutArtifact {
    type Output = PutResult;
    const DURABLE: bool = true;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks)
    }

    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<PutResult> {
        let blob = transaction.allocate_blob().await?;
        match self.artifact.insert_record(transaction, blob).await? {
            Ok(Some(record)) => {
                insert_chunks(transaction, blob, 0, &self.chunks).await?;
                Ok(Ok(PutResult { record, outcome: PutOutcome::Created }))
            }
            // The artifact exists, so the new blob is not needed.
            Ok(None) => {
                transaction.take_back_blob_number(blob);
                self.artifact.result_for_existing(transaction).await
            }
            Err(error) => Ok(Err(error)),
        }
    }
}

/// The error of an upload that a sweep deleted.
fn upload_swept_error() -> StoreError {
    StoreError::unavailable("the upload sent no bytes for too long and was deleted by a sweep")
}

/// Stages chunks of an upload. The first job of an upload also allocates its blob, and inserts the blob's row into
/// `pending`.
pub(crate) struct AppendChunks {
    pub(crate) staged: StagedBlob,
    /// The index of the first of `chunks` within the upload. 0 in the first job of the upload.
    pub(crate) first_index: u64,
    pub(crate) chunks: Vec<Bytes>,
}

#[async_trait]
impl WriteJob for AppendChunks {
    type Output = ();
    const DURABLE: bool = false;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks)
    }

    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        let blob = if self.first_index == 0 {
            self.staged.allocate(transaction).await?
        } else {
            match self.staged.renew_lease(transaction).await? {
                LeaseRenewal::Renewed { blob } => blob,
                LeaseRenewal::Swept => return Ok(Err(upload_swept_error())),
            }
        };
        insert_chunks(transaction, blob, self.first_index, &self.chunks).await?;
        Ok(Ok(()))
    }

    fn on_failure(&self) {
        if self.first_index == 0 {
            // The allocation was rolled back, so another upload can get the same blob number. Without this call,
            // aborting this upload would delete the chunks of the other upload.
            self.staged.clear();
        }
    }
}

/// Commits an upload: inserts its record and its last chunks, and deletes its row in `pending`.
pub(crate) struct CommitUpload {
    pub(crate) staged: StagedBlob,
    pub(crate) artifact: NewArtifact,
    /// The index of the first of `chunks` within the upload.
    pub(crate) first_index: u64,
    pub(crate) chunks: Vec<Bytes>,
}

#[async_trait]
impl WriteJob for CommitUpload {
    type Output = PutResult;
    const DURABLE: bool = true;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks)
    }

    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<PutResult> {
        let blob = match self.staged.renew_lease(transaction).await? {
            LeaseRenewal::Renewed { blob } => blob,
            LeaseRenewal::Swept => return Ok(Err(upload_swept_error())),
        };
        match self.artifact.insert_record(transaction, blob).await? {
            Ok(Some(record)) => {
                sqlx::query("DELETE FROM pending WHERE blob = ?")
                    .bind(blob)
                    .execute(&mut *transaction.conn)
                    .await?;
                insert_chunks(transaction, blob, self.first_index, &self.chunks).await?;
                Ok(Ok(PutResult { record, outcome: PutOutcome::Created }))
            }
            // The artifact exists, so the staged chunks are not needed.
            Ok(None) => {
                let result = self.artifact.result_for_existing(transaction).await?;
                mark_for_deletion(transaction, blob).await?;
                Ok(result)
            }
            Err(error) => Ok(Err(error)),
        }
    }
}
