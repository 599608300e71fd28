//! A plain HTTP client that knows nothing of the storage: the program `curl`.

use std::io::Write;
use std::process::{Command, Stdio};

use artifact_store_conformance::{HttpClient, HttpResponse};
use artifact_store_core::{BoxError, Bytes, async_trait};

/// `curl`, one process a request.
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
        // What curl would add by itself, and a wait for an answer in between.
        curl.args(["--header", "Content-Type:", "--header", "Expect:"]);
        for (name, value) in headers {
            // Every client counts the bytes that it sends by itself.
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
    let mut curl = curl.spawn().map_err(|error| format!("curl does not run, is it installed? {error}"))?;
    // curl reads the body to its end before it writes an answer; one that does not want it closes the pipe.
    if let Some(mut stdin) = curl.stdin.take() {
        let _ = stdin.write_all(body);
    }
    let done = curl.wait_with_output()?;
    if !done.status.success() {
        return Err(format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr)).into());
    }
    let output = Bytes::from(done.stdout);
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").ok_or("an answer without an end")?;
    let head = std::str::from_utf8(&output[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or("an answer without a status")?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Ok(HttpResponse { status: status.parse()?, headers: headers.collect(), body: output.slice(end + 4..) })
}
