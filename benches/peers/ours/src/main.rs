//! artifact-store in the benchmarks, beside the libraries that link with it.
//!
//! `ours measure …` and `ours groups …` are described in the crate `artifact-store-bench-load`. `ours serve SERVER` runs
//! a server until its standard input ends, and prints its address. `ours drop-schemas` removes what a measurement left in
//! a PostgreSQL server that is not its own.

mod servers;
mod stores;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let done = match arguments.first().map(String::as_str) {
        Some("serve") => runtime.block_on(servers::serve(&arguments[1..])),
        #[cfg(feature = "postgres")]
        Some("drop-schemas") => runtime.block_on(stores::tokio_postgres::drop_schemas()),
        _ => return runtime.block_on(artifact_store_bench_load::run(arguments, stores::open)),
    };
    done.map_or_else(|error| failed(&error.to_string()), |()| ExitCode::SUCCESS)
}

#[allow(clippy::print_stderr)] // This is a command-line program.
fn failed(message: &str) -> ExitCode {
    eprintln!("ours: {message}");
    ExitCode::FAILURE
}
