//! An HTTP client that knows nothing about the storage: the program `curl`.

use std::io::Write;
use std::process::{Command, Stdio};

use artifact_store_conformance::{HttpClient, HttpResponse};
use artifact_store_core::{BoxError, Bytes, async_trait};

/// Runs `curl`, one process per request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Curl;

#[async_trait]
impl HttpClient for Curl {
    async fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, BoxError> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--path-as-is", "--max-time", "60"]);
        // Removes the headers that curl would add. Without `Expect`, curl does not wait for `100 Continue`.
        curl.args(["--header", "Content-Type:", "--header", "Expect:"]);
        for (name, value) in headers {
            // curl sets the length itself.
            if !name.eq_ignore_ascii_case("content-length") {
                curl.arg("--header").arg(format!("{name}: {value}"));
            }
        }
        match method {
            "HEAD" => curl.arg("--head"),
            _ => curl.args(["--request", method]),
        };
        if matches!(method, "PUT" | "POST") {
            curl.args(["--data-binary", "@-"]);
        }
        curl.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::task::spawn_blocking(move || run(curl, &body)).await?
    }
}

fn run(mut curl: Command, body: &[u8]) -> Result<HttpResponse, BoxError> {
    let mut curl = curl.spawn().map_err(|error| format!("cannot run curl; is it installed? {error}"))?;
    // curl reads the whole body before it writes a response. If curl needs no body, it closes the pipe, so a failed
    // write is not an error.
    if let Some(mut stdin) = curl.stdin.take() {
        let _ = stdin.write_all(body);
    }
    let done = curl.wait_with_output()?;
    if !done.status.success() {
        return Err(format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr)).into());
    }
    let output = Bytes::from(done.stdout);
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or("the response has no end of headers")?;
    let head = std::str::from_utf8(&output[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or("the response has no status")?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Ok(HttpResponse { status: status.parse()?, headers: headers.collect(), body: output.slice(end + 4..) })
}
