//! Servers over HTTP/1.1 on loopback: `artifactd` with the driver inmem, and what axum needs for the same requests.
//!
//! A task has a connection for itself, which is kept alive. The load comes from here and not from `wrk` or `oha`: it needs
//! a new body for each put, and the tools may be missing.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use artifact_store_bench_load::{Case, Error, Kind, Measured, Store, Work, measured};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The clock ticks of Linux in `/proc`, whatever the kernel's own are.
const TICK: Duration = Duration::from_millis(10);

struct Server {
    name: &'static str,
    kind: Kind,
    works: &'static [Work],
    /// The first part of each path.
    path: &'static str,
    address: String,
    process: String,
    token: String,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// The servers that `artifactd` (address, process id, token) and `axum` (address, process id) describe.
pub(crate) fn all(artifactd: &str, axum: &str) -> Result<Vec<Box<dyn Measured>>, Error> {
    let server = |description: &str, name, kind, works, path| {
        let mut parts = description.split(' ').map(str::to_owned);
        let (Some(address), Some(process)) = (parts.next(), parts.next()) else {
            return Err("a server needs an address and a process id");
        };
        let token = parts.next().unwrap_or_default();
        Ok(measured(Server { name, kind, works, path, address, process, token, idle: Mutex::default() }))
    };
    Ok(vec![
        server(artifactd, "artifact-store", Kind::Ours, &[Work::Get, Work::Put], "/v1/artifacts")?,
        server(axum, "axum", Kind::Library, &[Work::Get], "/v1/artifacts")?,
        server(axum, "axum + SHA-256", Kind::Library, &[Work::Put], "/hashed")?,
        server(axum, "axum, body dropped", Kind::Raw, &[Work::Put], "/v1/artifacts")?,
    ])
}

impl Server {
    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = if let Some(connection) = idle {
            connection
        } else {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(async move { connection.await.unwrap_or_default() });
            sender
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(body))?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(body)
    }
}

impl Store for Server {
    type Key = String;

    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn supports(&self, case: &Case) -> bool {
        self.works.contains(&case.work)
    }

    async fn put(&self, _name: String, body: Bytes) -> Result<String, Error> {
        let response = self.send(Method::PUT, self.path, body).await?;
        let response: serde_json::Value = serde_json::from_slice(&response)?;
        let id = response["ref"]["id"].as_str().ok_or("the response has no id")?;
        Ok(format!("{}/{id}", self.path))
    }

    async fn get(&self, key: &String, _range: Option<Range<u64>>) -> Result<u64, Error> {
        Ok(self.send(Method::GET, key, Bytes::new()).await?.len() as u64)
    }

    fn server_cpu(&self) -> Option<Duration> {
        // The fields after the name, which is in parentheses: user and system time are the 12th and 13th of them.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process)).unwrap_or_default();
        let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
        Some(TICK * ticks.sum::<u32>())
    }
}
