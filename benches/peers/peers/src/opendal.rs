//! OpenDAL, with its default settings and without layers.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_bench_load::{Case, Error, Kind, MIB, PAGE_ROWS, Rows, Store, Work};
use bytes::Bytes;
use futures_util::TryStreamExt;
use opendal::{Operator, services};
use sqlx::{Connection, Executor};

pub(crate) struct OpenDal {
    operator: Operator,
    backend: Backend,
}

enum Backend {
    Memory,
    /// The directory, if it is synced after each change. The library syncs the file alone.
    Files(Option<Arc<File>>),
    Table,
    S3,
}

impl OpenDal {
    pub(crate) fn in_memory() -> Result<Self, Error> {
        Ok(Self { operator: Operator::new(services::Memory::default())?, backend: Backend::Memory })
    }

    pub(crate) fn in_dir(dir: &Path, synced: bool) -> Result<Self, Error> {
        let folder = dir.join("bodies");
        std::fs::create_dir_all(&folder)?;
        let (root, temporary) = (dir.to_string_lossy(), dir.join("temporary"));
        let builder = services::Fs::default().root(&root).atomic_write_dir(&temporary.to_string_lossy());
        let folder = if synced { Some(Arc::new(File::open(folder)?)) } else { None };
        Ok(Self { operator: Operator::new(builder)?, backend: Backend::Files(folder) })
    }

    /// With a write-ahead log, which the file keeps, and `synchronous=FULL`, which is SQLite's default.
    pub(crate) async fn sqlite(path: &Path) -> Result<Self, Error> {
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await?;
        let tables = "PRAGMA journal_mode = WAL; CREATE TABLE bodies (key TEXT PRIMARY KEY, value BLOB)";
        if !path.exists() || std::fs::metadata(path)?.len() == 0 {
            connection.execute(tables).await?;
        }
        connection.close().await?;
        let builder = services::Sqlite::default().connection_string(&url).table("bodies");
        Ok(Self { operator: Operator::new(builder)?, backend: Backend::Table })
    }

    pub(crate) async fn postgres(url: &str, schema: &str) -> Result<Self, Error> {
        let tables = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE IF NOT EXISTS {schema}.opendal (key text PRIMARY KEY, value bytea)"
        );
        let mut connection = sqlx::PgConnection::connect(url).await?;
        connection.execute(tables.as_str()).await?;
        connection.close().await?;
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}options[search_path]={schema}");
        let builder = services::Postgresql::default().connection_string(&url).table("opendal");
        Ok(Self { operator: Operator::new(builder)?, backend: Backend::Table })
    }

    pub(crate) fn s3(address: &str) -> Result<Self, Error> {
        opendal::install_default();
        let builder = services::S3::default()
            .endpoint(&format!("http://{address}"))
            .region("us-east-1")
            .bucket("artifacts")
            .root("opendal")
            .access_key_id("artifact")
            .secret_access_key("artifact-secret")
            .disable_config_load()
            .disable_ec2_metadata();
        Ok(Self { operator: Operator::new(builder)?, backend: Backend::S3 })
    }

    async fn sync_dir(&self) -> Result<(), Error> {
        if let Backend::Files(Some(dir)) = &self.backend {
            let dir = Arc::clone(dir);
            tokio::task::spawn_blocking(move || dir.sync_all()).await??;
        }
        Ok(())
    }
}

impl Store for OpenDal {
    /// The path and the size.
    type Key = (String, u64);

    fn name(&self) -> &'static str {
        "OpenDAL"
    }

    fn kind(&self) -> Kind {
        Kind::Library
    }

    fn supports(&self, case: &Case) -> bool {
        match case.work {
            // A page here is the first 100 names of a folder, in the order of the storage.
            Work::List(page) => {
                page == Rows::First && case.rows <= 100_000 && !matches!(self.backend, Backend::Table)
            }
            Work::Presign => matches!(self.backend, Backend::S3),
            // It always syncs the file.
            Work::Put | Work::PutHashed => !matches!(self.backend, Backend::Files(None)),
            _ => true,
        }
    }

    async fn put(&self, name: String, body: Bytes) -> Result<Self::Key, Error> {
        let (path, size) = (format!("bodies/{name}"), body.len() as u64);
        self.operator.write(&path, body).await?;
        self.sync_dir().await?;
        Ok((path, size))
    }

    async fn get(&self, (path, size): &Self::Key, range: Option<Range<u64>>) -> Result<u64, Error> {
        if let Some(range) = range {
            return Ok(self.operator.read_with(path).range(range).await?.len() as u64);
        }
        if *size <= MIB {
            return Ok(self.operator.read(path).await?.len() as u64);
        }
        let mut stream = self.operator.reader(path).await?.into_bytes_stream(..).await?;
        let mut bytes = 0;
        while let Some(chunk) = stream.try_next().await? {
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    async fn stat(&self, (path, _): &Self::Key) -> Result<u64, Error> {
        Ok(self.operator.stat(path).await?.content_length())
    }

    async fn delete(&self, (path, _): &Self::Key) -> Result<(), Error> {
        self.operator.delete(path).await?;
        self.sync_dir().await
    }

    async fn presign(&self, (path, _): &Self::Key) -> Result<(), Error> {
        self.operator.presign_read(path, Duration::from_mins(15)).await?;
        Ok(())
    }

    async fn fill(&self, rows: u64) -> Result<(), Error> {
        let filled = format!("filled-{rows}");
        if self.operator.exists(&filled).await? {
            return Ok(());
        }
        for row in 0..rows {
            self.operator.write(&format!("rows-{rows}/{row:08}"), "a row").await?;
        }
        self.operator.write(&filled, "filled").await?;
        Ok(())
    }

    async fn page(&self, rows: u64, _page: Rows) -> Result<usize, Error> {
        let mut names = self.operator.lister(&format!("rows-{rows}/")).await?;
        let mut count = 0;
        // The folder itself may be among the names.
        while count < PAGE_ROWS
            && let Some(name) = names.try_next().await?
        {
            count += usize::from(!name.path().ends_with('/'));
        }
        Ok(count)
    }
}
