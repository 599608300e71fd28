//! The client that openapi-generator makes for Rust, with all its defaults, against a running server. It panics where something is
//! not as it should be.

use openapi::apis::bytes_api::{bytes_get, bytes_put};
use openapi::apis::configuration::Configuration;
use openapi::apis::control_api::artifacts_list;
use openapi::apis::events_api::events_subscribe;
use openapi::apis::Error;
use openapi::models::{Code, Envelope, EventData, EventPayload, ListRequest};
use reqwest::header::{HeaderValue, CONTENT_TYPE};

const SESSION: Option<&str> = Some("openapi-generator-rust");

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// The code of a refusal.
fn code<T: std::fmt::Debug>(failed: Error<T>) -> Code {
    let Error::ResponseError(refused) = failed else { panic!("no refusal: {failed:?}") };
    let envelope: Envelope = serde_json::from_str(&refused.content).expect("the envelope");
    envelope.code
}

/// The `data` of the first event of this type.
async fn event(stream: &mut reqwest::Response, kind: &str) -> String {
    let mut read = Vec::new();
    loop {
        let more = stream.chunk().await.expect("the stream").expect("the stream has not ended");
        read.extend_from_slice(&more);
        let text = String::from_utf8_lossy(&read);
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        let frame =
            whole.split("\n\n").find(|frame| frame.lines().any(|line| line == format!("event: {kind}")));
        if let Some(data) = frame.and_then(|frame| frame.lines().find_map(|line| line.strip_prefix("data: ")))
        {
            return data.to_owned();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Uploads send the media type that the client beneath sends with whatever has none.
    let weights = [(CONTENT_TYPE, HeaderValue::from_static("application/x-weights"))];
    let client = reqwest::Client::builder().default_headers(weights.into_iter().collect()).build();
    let config = Configuration {
        client: client.expect("a client"),
        base_path: variable("HARBOR_URL"),
        bearer_access_token: Some(variable("HARBOR_TOKEN")),
        ..Configuration::default()
    };
    // Its uploads are files.
    let file = std::path::PathBuf::from(variable("HARBOR_FILE"));
    let bytes = std::fs::read(&file).expect("the file");

    let mut stream = events_subscribe(&config, None, Some("artifacts.uploaded"), None, SESSION, None, None)
        .await
        .expect("a stream");

    let tags = Some(vec!["a".to_owned(), "b".to_owned()]);
    let put = bytes_put(
        &config,
        None,
        Some("weights ü.bin"),
        None,
        Some("tool"),
        tags,
        None,
        SESSION,
        None,
        None,
        Some(file),
    )
    .await
    .expect("put");
    assert_eq!(put.r#ref.size_bytes, i64::try_from(bytes.len()).unwrap());
    assert_eq!(put.r#ref.filename.as_deref(), Some("weights ü.bin"));
    assert_eq!(put.r#ref.mime_type.as_deref(), Some("application/x-weights"));
    let id = put.r#ref.id.as_str();

    let told: EventData =
        serde_json::from_str(&event(&mut stream, "artifacts.uploaded").await).expect("an event");
    let EventPayload::EventPayloadOneOf(uploaded) = *told.payload else { panic!("{:?}", told.payload) };
    assert_eq!(uploaded.r#ref.id, id);

    let get = |id, range| bytes_get(&config, id, None, None, None, None, None, None, SESSION, None, None, range, None);
    let whole = get(id, None).await.expect("the whole");
    assert!(whole.bytes().await.expect("the bytes") == bytes);
    let part = get(id, Some("bytes=1000-299999")).await.expect("a range");
    assert_eq!(part.status(), 206);
    assert!(part.bytes().await.expect("the bytes") == bytes[1000..300_000]);

    let wanted = ListRequest { tags: Some(Some(vec!["b".to_owned()])), ..ListRequest::default() };
    let listed = artifacts_list(&config, wanted, SESSION, None, None).await.expect("a list");
    assert_eq!(listed.total_matched, 1);
    assert_eq!(listed.rows[0].r#ref.id, id);

    let missing = get("default_00000000000000000000000000000000", None).await.expect_err("no such artifact");
    assert_eq!(code(missing), Code::NotFound);
    println!("openapi-generator, rust: put, get, range, list, a refusal and an event are as they should be");
}
