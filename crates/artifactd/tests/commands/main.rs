//! The program: most tests run its commands as a user runs them. One binary, because each one is linked for seconds.

mod build_commit;
mod cli_config;
mod cli_docs;
mod cli_drivers;
mod cli_files;
mod cli_ls;
mod cli_read_only;
mod cli_store;
mod cli_streams;
mod cli_sweep;
mod cli_usage;
mod connections;
mod key_rotation;
mod keygen_and_token;
mod pages;
mod serve_log;
mod serve_sweep;
mod support;
