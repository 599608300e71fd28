//! The stand-in for Azure Blob Storage as a separate program, so that a test can kill it:
//! `azure-stand-in ADDRESS ROOT ACCOUNT KEY`.

use std::path::Path;

use artifact_store_backends::{Error, serve_azure_stand_in};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, root, account, key] = arguments.as_slice() else {
        return Err("azure-stand-in ADDRESS ROOT ACCOUNT KEY".into());
    };
    serve_azure_stand_in(address.parse()?, Path::new(root), account, key).await
}
