//! The adapter in front of fake-gcs-server as a separate program: `fake-gcs-adapter ADDRESS TARGET honoured|ignored`.

use artifact_store_backends::{Error, serve_gcs_adapter};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, target, conditions] = arguments.as_slice() else {
        return Err("fake-gcs-adapter ADDRESS TARGET honoured|ignored".into());
    };
    serve_gcs_adapter(address.parse()?, target.parse()?, conditions.parse()?).await
}
