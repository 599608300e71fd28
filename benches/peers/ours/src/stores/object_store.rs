//! The crate `object_store`, in memory, in a directory, and on S3.

use std::fs::File;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;

use artifact_store_bench_load::{Case, Error, Kind, MIB, PAGE_ROWS, Rows, Store, Work};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
#[cfg(feature = "s3")]
use object_store::{aws::AmazonS3, signer::Signer};

/// Of every object here, because the S3 servers have objects of other stores, too.
const FOLDER: &str = "object_store";

pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Synced after a delete, because the library syncs only after a put.
    synced_dir: Option<Arc<File>>,
    #[cfg(feature = "s3")]
    signer: Option<Arc<AmazonS3>>,
}

impl Objects {
    fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            synced_dir: None,
            #[cfg(feature = "s3")]
            signer: None,
        }
    }

    pub(crate) fn in_memory() -> Self {
        Self::new(Arc::new(InMemory::new()))
    }

    /// With `synced`, it syncs the file and its directories.
    pub(crate) fn in_dir(dir: &FsPath, synced: bool) -> Result<Self, Error> {
        let folder = dir.join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        let store = Arc::new(LocalFileSystem::new_with_prefix(dir)?.with_fsync(synced));
        let synced_dir = if synced { Some(Arc::new(File::open(folder)?)) } else { None };
        Ok(Self { synced_dir, ..Self::new(store) })
    }

    #[cfg(feature = "s3")]
    pub(crate) fn s3(endpoint: &str) -> Result<Self, Error> {
        let builder = object_store::aws::AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(super::S3_BUCKET)
            .with_access_key_id(super::S3_KEY.0)
            .with_secret_access_key(super::S3_KEY.1);
        let store = Arc::new(builder.build()?);
        Ok(Self { signer: Some(Arc::clone(&store)), ..Self::new(store) })
    }
}

impl Store for Objects {
    type Key = Path;

    fn name(&self) -> &'static str {
        "object_store"
    }

    fn kind(&self) -> Kind {
        Kind::Library
    }

    fn supports(&self, case: &Case) -> bool {
        match case.work {
            // A page here is the first 100 names of a prefix, in the order of the storage.
            Work::List(page) => page == Rows::First && case.rows <= 100_000,
            #[cfg(feature = "s3")]
            Work::Presign => self.signer.is_some(),
            #[cfg(not(feature = "s3"))]
            Work::Presign => false,
            _ => true,
        }
    }

    async fn put(&self, name: String, body: Bytes) -> Result<Path, Error> {
        let path = Path::from(format!("{FOLDER}/{name}"));
        self.store.put(&path, PutPayload::from(body)).await?;
        Ok(path)
    }

    async fn get(&self, key: &Path, range: Option<Range<u64>>) -> Result<u64, Error> {
        if let Some(range) = range {
            return Ok(self.store.get_range(key, range).await?.len() as u64);
        }
        let result = self.store.get(key).await?;
        if result.meta.size <= MIB {
            return Ok(result.bytes().await?.len() as u64);
        }
        let mut stream = result.into_stream();
        let mut bytes = 0;
        while let Some(chunk) = stream.try_next().await? {
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    async fn stat(&self, key: &Path) -> Result<u64, Error> {
        Ok(self.store.head(key).await?.size)
    }

    async fn delete(&self, key: &Path) -> Result<(), Error> {
        self.store.delete(key).await?;
        if let Some(dir) = self.synced_dir.clone() {
            tokio::task::spawn_blocking(move || dir.sync_all()).await??;
        }
        Ok(())
    }

    #[cfg(feature = "s3")]
    async fn presign(&self, key: &Path) -> Result<(), Error> {
        let signer = self.signer.as_ref().ok_or("no signer")?;
        signer.signed_url(hyper::Method::GET, key, std::time::Duration::from_mins(15)).await?;
        Ok(())
    }

    async fn fill(&self, rows: u64) -> Result<(), Error> {
        let filled = Path::from(format!("filled-{rows}"));
        if self.store.head(&filled).await.is_ok() {
            return Ok(());
        }
        for row in 0..rows {
            self.store.put(&Path::from(format!("rows-{rows}/{row:08}")), PutPayload::from("a row")).await?;
        }
        self.store.put(&filled, PutPayload::new()).await?;
        Ok(())
    }

    async fn page(&self, rows: u64, _page: Rows) -> Result<usize, Error> {
        let prefix = Path::from(format!("rows-{rows}"));
        let names: Vec<_> = self.store.list(Some(&prefix)).take(PAGE_ROWS).try_collect().await?;
        Ok(names.len())
    }
}
