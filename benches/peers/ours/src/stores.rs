//! The stores of each backend: artifact-store first, then other libraries, then hand-written references.

pub(crate) mod artifact_store;
#[cfg(feature = "s3")]
mod aws_sdk;
#[cfg(feature = "http")]
mod http;
mod machine;
mod object_store;
#[cfg(feature = "sqlite")]
mod rusqlite;
#[cfg(feature = "postgres")]
pub(crate) mod tokio_postgres;

use ::artifact_store::Config;
use artifact_store_bench_load::{Error, Measured, Place, measured};

use self::artifact_store::Ours;
use self::object_store::Objects;

/// The access key of the S3 servers here. It opens nothing else.
#[cfg(feature = "s3")]
pub(crate) const S3_KEY: (&str, &str) = ("artifact", "artifact-secret");
/// The bucket of the S3 servers here.
#[cfg(feature = "s3")]
pub(crate) const S3_BUCKET: &str = "artifacts";

/// Opens the stores of a group. A backend that is not compiled in has none.
pub(crate) async fn open(place: &Place) -> Result<Vec<Box<dyn Measured>>, Error> {
    let ours = |config: Config| async move { Ok::<_, Error>(measured(Ours::open(&config).await?)) };
    Ok(match place.group.backend.name {
        "machine" => machine::all(&place.dir),
        "inmem" => vec![ours(Config::new("inmem")).await?, measured(Objects::in_memory())],
        "fs synced" | "fs unsynced" => {
            let synced = place.group.backend.name == "fs synced";
            let sync = if synced { "always" } else { "never" };
            let root = text(place, "artifact-store");
            vec![
                ours(Config::new("fs").option("root", root).option("sync", sync)).await?,
                measured(Objects::in_dir(&place.dir.join("object_store"), synced)?),
            ]
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            // What a listing costs does not depend on how its rows were synced, and filling it takes less time.
            let synchronous = if place.group.lists { "normal" } else { "full" };
            let config = Config::new("sqlite").option("path", text(place, "artifact-store.db"));
            vec![
                ours(config.option("synchronous", synchronous)).await?,
                measured(rusqlite::Sqlite::open(&place.dir.join("rusqlite.db"))?),
            ]
        }
        #[cfg(feature = "postgres")]
        "postgres" => {
            let (url, schema) = (variable("BENCH_POSTGRES_URL")?, tokio_postgres::schema(place.group.lists));
            let commit = if place.group.lists { "off" } else { "on" };
            let config =
                Config::new("postgres").option("url", url.clone()).option("schema", format!("{schema}_ours"));
            vec![
                ours(config.option("synchronous_commit", commit)).await?,
                measured(tokio_postgres::Postgres::open(&url, schema).await?),
            ]
        }
        #[cfg(feature = "s3")]
        "s3 s3s-fs" => s3(&variable("BENCH_S3S_FS")?, "probe").await?,
        // It has no multipart uploads, which a probe would try.
        #[cfg(feature = "s3")]
        "s3 null" => s3(&variable("BENCH_NULL_S3")?, "put").await?,
        #[cfg(feature = "http")]
        "http" => http::all(&variable("BENCH_ARTIFACTD")?, &variable("BENCH_AXUM")?)?,
        _ => Vec::new(),
    })
}

fn text(place: &Place, name: &str) -> String {
    place.dir.join(name).to_string_lossy().into_owned()
}

/// A variable that `benches/peers/run` sets.
#[cfg(any(feature = "http", feature = "postgres", feature = "s3"))]
fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("{name} is not set; benches/peers/run sets it").into())
}

#[cfg(feature = "s3")]
async fn s3(address: &str, conditional_create: &str) -> Result<Vec<Box<dyn Measured>>, Error> {
    let endpoint = format!("http://{address}");
    let config = Config::new("s3")
        .option("bucket", S3_BUCKET)
        .option("prefix", "ours")
        .option("endpoint", endpoint.clone())
        .option("path_style", true)
        .option("conditional_create", conditional_create)
        .option("access_key_id", S3_KEY.0)
        .option("secret_access_key", S3_KEY.1);
    Ok(vec![
        measured(Ours::open(&config).await?),
        measured(Objects::s3(&endpoint)?),
        measured(aws_sdk::AwsSdk::new(&endpoint)),
    ])
}
