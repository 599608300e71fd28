//! The jobs that write artifacts into the tables: [`PutArtifact`], [`AppendChunks`] and [`CommitUpload`].
//!
//! Each job runs a few statements within one transaction. This module must never begin or end a transaction, or send a
//! result.

use artifact_store_core::{
    ArtifactId, CompletedBody, HashTree, PutOptions, PutOutcome, PutResult, Record, Scope, ScopeMark,
    StoreError,
};
use bytes::Bytes;
use rusqlite::params;

use crate::error::DbError;
use crate::job::{JobResult, WriteJob};
use crate::pending::{LeaseRenewal, StagedBlob, mark_for_deletion};
use crate::row::EncodedRecord;
use crate::schema::TREE_PIECE_BYTES;
use crate::transaction::WriteTransaction;
use crate::{row, schema};

/// An artifact to be stored, without its bytes.
#[derive(Debug)]
pub(crate) struct NewArtifact {
    pub(crate) scope: Scope,
    pub(crate) options: PutOptions,
    pub(crate) body: CompletedBody,
    /// `None` for a small artifact.
    pub(crate) tree: Option<HashTree>,
}

impl NewArtifact {
    /// The bytes of the tree's nodes.
    fn tree_bytes(&self) -> usize {
        self.tree.as_ref().map_or(0, |tree| tree.nodes.len())
    }

    /// Inserts the record, the tags and the tree of the artifact whose bytes are in `blob`. Returns the record, or `None` if the
    /// scope already has an artifact with this id.
    fn insert_record(&self, transaction: &mut WriteTransaction<'_>, blob: i64) -> JobResult<Option<Record>> {
        let Self { scope, options, body, tree } = self;
        // The clock is read here, under the write lock. So a later commit has no earlier `created_at`, unless the clock
        // is set back.
        let record =
            Record::new(scope.clone(), options.clone(), body.digest, body.size, transaction.clock.now())
                .with_blake3(tree.as_ref().map(|tree| tree.root));
        let encoded = match EncodedRecord::new(&record) {
            Ok(encoded) => encoded,
            Err(error) => return Ok(Err(error)),
        };
        let inserted = transaction.execute(
            "INSERT INTO artifact (blob, scope_mark, tenant, user, session, task, id, digest, size, created_at,
                 media_type, source, record, record_digest)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope_mark, id) DO NOTHING",
            params![
                blob,
                &ScopeMark::of(scope).as_bytes()[..],
                scope.tenant().as_str(),
                scope.user().as_str(),
                scope.session().as_str(),
                row::task_str(scope),
                record.id.as_str(),
                &record.digest.as_bytes()[..],
                record.size.cast_signed(),
                record.created_at.as_micros(),
                options.media_type.as_deref().map(str::as_bytes),
                options.source.as_str(),
                encoded.json,
                &encoded.digest.as_bytes()[..],
            ],
        )?;
        let id_exists = inserted == 0;
        if id_exists {
            return Ok(Ok(None));
        }
        if !options.tags.is_empty() {
            transaction.execute(
                "INSERT OR IGNORE INTO tag (blob, tag, tenant) SELECT ?, unhex(value), ? FROM json_each(?)",
                (
                    blob,
                    scope.tenant().as_str(),
                    row::hex_json_array(options.tags.iter().map(String::as_bytes)),
                ),
            )?;
        }
        if let Some(tree) = tree {
            for (index, piece) in (0..).zip(tree.nodes.chunks(TREE_PIECE_BYTES)) {
                let key = schema::chunk_key(blob, index);
                transaction.execute("INSERT INTO tree (key, nodes) VALUES (?, ?)", (key, piece))?;
            }
        }
        Ok(Ok(Some(record)))
    }

    /// Returns the result of a put whose scope already has an artifact with this id: `AlreadyExists` if the artifact
    /// has the same bytes, or the error `Conflict` if it has other bytes.
    fn result_for_existing(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<PutResult> {
        const SQL: &str =
            concat!("SELECT ", row::columns!(), " FROM artifact AS a WHERE a.scope_mark = ? AND a.id = ?");
        let id = ArtifactId::new(&self.options.namespace, &self.body.digest);
        let mut statement = transaction.conn.prepare_cached(SQL)?;
        let mut rows = statement.query((&ScopeMark::of(&self.scope).as_bytes()[..], id.as_str()))?;
        // The insert has found this row, and the transaction has the write lock.
        let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let record = match row::decode(row) {
            Ok((_blob, record)) => record,
            Err(DbError::Store(error)) => return Ok(Err(error)),
            Err(error) => return Err(error),
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
fn insert_chunks(
    transaction: &mut WriteTransaction<'_>,
    blob: i64,
    first_index: u64,
    chunks: &[Bytes],
) -> Result<(), rusqlite::Error> {
    for (index, chunk) in (first_index..).zip(chunks) {
        let key = schema::chunk_key(blob, index);
        transaction.execute("INSERT INTO chunk (key, data) VALUES (?, ?)", (key, &chunk[..]))?;
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

impl WriteJob for PutArtifact {
    type Output = PutResult;
    const DURABLE: bool = true;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks) + self.artifact.tree_bytes()
    }

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<PutResult> {
        let blob = transaction.allocate_blob()?;
        match self.artifact.insert_record(transaction, blob)? {
            Ok(Some(record)) => {
                insert_chunks(transaction, blob, 0, &self.chunks)?;
                Ok(Ok(PutResult { record, outcome: PutOutcome::Created }))
            }
            // The artifact exists, so the new blob is not needed.
            Ok(None) => {
                transaction.take_back_blob_number(blob);
                self.artifact.result_for_existing(transaction)
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

impl WriteJob for AppendChunks {
    type Output = ();
    const DURABLE: bool = false;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks)
    }

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        let blob = if self.first_index == 0 {
            self.staged.allocate(transaction)?
        } else {
            match self.staged.renew_lease(transaction)? {
                LeaseRenewal::Renewed { blob } => blob,
                LeaseRenewal::Swept => return Ok(Err(upload_swept_error())),
            }
        };
        insert_chunks(transaction, blob, self.first_index, &self.chunks)?;
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

impl WriteJob for CommitUpload {
    type Output = PutResult;
    const DURABLE: bool = true;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks) + self.artifact.tree_bytes()
    }

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<PutResult> {
        let blob = match self.staged.renew_lease(transaction)? {
            LeaseRenewal::Renewed { blob } => blob,
            LeaseRenewal::Swept => return Ok(Err(upload_swept_error())),
        };
        match self.artifact.insert_record(transaction, blob)? {
            Ok(Some(record)) => {
                transaction.execute("DELETE FROM pending WHERE blob = ?", [blob])?;
                insert_chunks(transaction, blob, self.first_index, &self.chunks)?;
                Ok(Ok(PutResult { record, outcome: PutOutcome::Created }))
            }
            // The artifact exists, so the staged chunks are not needed.
            Ok(None) => {
                let result = self.artifact.result_for_existing(transaction)?;
                mark_for_deletion(transaction, blob)?;
                Ok(result)
            }
            Err(error) => Ok(Err(error)),
        }
    }
}
