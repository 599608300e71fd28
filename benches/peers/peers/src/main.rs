//! The other libraries of the benchmarks whose SQLite differs from that of artifact-store: OpenDAL and its sqlx.
//!
//! `peers measure …` and `peers groups …` are described in the crate `artifact-store-bench-load`.

mod opendal;
mod sqlx;

use std::process::ExitCode;

use artifact_store_bench_load::{Error, Measured, Place, measured};

use self::opendal::OpenDal;

#[tokio::main]
async fn main() -> ExitCode {
    artifact_store_bench_load::run(std::env::args().skip(1).collect(), open).await
}

/// Opens the stores of a group. A backend that these libraries do not have has none.
async fn open(place: &Place) -> Result<Vec<Box<dyn Measured>>, Error> {
    let schema = if place.group.lists { "bench_lists" } else { "bench" };
    Ok(match place.group.backend.name {
        "inmem" => vec![measured(OpenDal::in_memory()?)],
        "fs synced" => vec![measured(OpenDal::in_dir(&place.dir.join("opendal"), true)?)],
        "fs unsynced" => vec![measured(OpenDal::in_dir(&place.dir.join("opendal"), false)?)],
        "sqlite" => {
            let sqlx = sqlx::Sqlite::open(&place.dir.join("sqlx.db")).await?;
            vec![measured(OpenDal::sqlite(&place.dir.join("opendal.db")).await?), measured(sqlx)]
        }
        "postgres" => vec![measured(OpenDal::postgres(&variable("BENCH_POSTGRES_URL")?, schema).await?)],
        "s3 s3s-fs" => vec![measured(OpenDal::s3(&variable("BENCH_S3S_FS")?)?)],
        "s3 null" => vec![measured(OpenDal::s3(&variable("BENCH_NULL_S3")?)?)],
        _ => Vec::new(),
    })
}

/// A variable that `benches/peers/run` sets.
fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("{name} is not set; benches/peers/run sets it").into())
}
