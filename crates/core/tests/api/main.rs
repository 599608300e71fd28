//! The core, through its public types.

mod body;
mod checked_reads;
mod gate;
mod io_errors;
mod list_totals;
mod registry_and_options;
mod scope_and_key;
mod scoped_store;
mod sort_key;
