use artifact_store_core::*;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub struct VecStore {
    rows: Mutex<Option<Vec<(Record, Bytes)>>>, // `None` once closed
    max_artifact_bytes: u64,
    clock: Arc<dyn Clock>,
}

impl VecStore {
    pub fn new(max_artifact_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        Self { rows: Mutex::new(Some(Vec::new())), max_artifact_bytes, clock }
    }

    fn with_rows<T>(&self, operation: impl FnOnce(&mut Vec<(Record, Bytes)>) -> T) -> Result<T, StoreError> {
        let mut rows =
            self.rows.lock().map_err(|_| StoreError::backend("a panic left the store inconsistent"))?;
        rows.as_mut().map(operation).ok_or_else(StoreError::closed)
    }
}

fn is_artifact(record: &Record, scope: &Scope, id: &ArtifactId) -> bool {
    record.scope == *scope && record.id == *id // the scope is part of the key
}

#[async_trait]
impl ArtifactStore for VecStore {
    fn driver(&self) -> &'static str {
        "vec"
    }

    fn capabilities(&self) -> Capabilities {
        // No flags: neither durable nor shared, and nothing can be presigned.
        Capabilities::new().max_artifact_bytes(self.max_artifact_bytes)
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.with_rows(|_| ())?;
        let mut stream = body.open(self.max_artifact_bytes)?.into_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            bytes.extend_from_slice(&piece); // an error returns here, before anything is stored
        }
        let completed = stream.finish()?;
        let record = Record::new(scope.clone(), options, completed.digest, completed.size, self.clock.now());
        self.with_rows(|rows| match rows.iter().find(|(row, _)| is_artifact(row, scope, &record.id)) {
            Some((row, _)) if row.digest != record.digest => Err(StoreError::conflict("another digest")),
            Some((row, _)) => Ok(PutResult { record: row.clone(), outcome: PutOutcome::AlreadyExists }),
            None => {
                rows.push((record.clone(), bytes.into()));
                Ok(PutResult { record, outcome: PutOutcome::Created })
            }
        })?
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.with_rows(|rows| {
            let (record, bytes) = rows.iter().find(|(row, _)| is_artifact(row, scope, id))?.clone();
            let range = range.map_or(0..record.size, |range| range.resolve(record.size));
            let part = bytes.slice(range.start as usize..range.end as usize);
            Some(GetResult { record, range, stream: ByteStream::from_bytes(part) })
        })
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.with_rows(|rows| {
            rows.iter().map(|(row, _)| row).find(|row| is_artifact(row, scope, id)).cloned()
        })
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.with_rows(|rows| {
            let before = rows.len();
            rows.retain(|(row, _)| !is_artifact(row, scope, id));
            rows.len() < before
        })
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let after = query.position()?;
        self.with_rows(|rows| {
            let mut matches: Vec<Record> =
                rows.iter().map(|(row, _)| row).filter(|row| query.matches(row)).cloned().collect();
            matches.sort_by_key(Position::of); // newest first, then by id
            let total = query.counts_total().then_some(matches.len() as u64);
            matches.retain(|row| after.is_none_or(|after| Position::of(row) > *after));
            let has_more = matches.len() > query.limit() as usize;
            matches.truncate(query.limit() as usize);
            Page::new(query, matches, total, has_more)
        })
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.with_rows(|_| Health::ready())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.rows.lock().map_err(|_| StoreError::backend("a panic left the store inconsistent"))?.take();
        Ok(())
    }
}
