//! Prints the public API of a crate, one item a line, from its rustdoc JSON.
//!
//! `public-api FILE`: FILE is what `rustdoc --output-format json` wrote. Implementations that every type has, auto traits
//! such as `Send`, and derived implementations are left out. `release/public-api` makes the files and calls this program.
#![allow(clippy::print_stdout)] // A command-line program.

use artifact_store_core::BoxError;

fn main() -> Result<(), BoxError> {
    let file = std::env::args_os().nth(1).ok_or("usage: public-api FILE")?;
    let api = public_api::Builder::from_rustdoc_json(std::path::PathBuf::from(file))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    for item in api.items() {
        println!("{item}");
    }
    Ok(())
}
