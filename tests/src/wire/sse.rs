//! The event stream, read as a browser reads it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::Incoming;
use super::request::Request;
use super::server::Server;

/// A block of the stream, up to its empty line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// `id`.
    pub id: Option<String>,
    /// `event`.
    pub event: Option<String>,
    /// `data`, its lines joined.
    pub data: Option<String>,
    /// `retry`.
    pub retry: Option<String>,
    /// The comments.
    pub comments: Vec<String>,
}

impl Frame {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap_or_default())
            .unwrap_or_else(|_| panic!("no JSON in {self:?}"))
    }
}

/// An open stream.
#[derive(Debug)]
pub struct EventStream {
    incoming: Incoming,
    text: String,
}

impl EventStream {
    /// Opens a stream and reads its first block, which is `retry`.
    pub fn open(server: &Server, request: &Request) -> Self {
        Self::open_at(server.addr(), request)
    }

    /// The same at an address.
    pub fn open_at(addr: SocketAddr, request: &Request) -> Self {
        let incoming = request.begin(addr);
        let response = &incoming.response;
        assert_eq!(response.status, 200, "{response:?}");
        let kind = response.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/event-stream"), "{response:?}");
        let mut stream = Self { incoming, text: String::new() };
        let first = stream.next(Duration::from_secs(5)).expect("retry comes at once");
        assert_eq!(first, Frame { retry: Some("3000".into()), ..Frame::default() });
        stream
    }

    /// The headers that it came with.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.incoming.response.header(name)
    }

    /// The next block; `None`: nothing came in time, or the stream has ended.
    pub fn next(&mut self, patience: Duration) -> Option<Frame> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                return Some(parse(&block));
            }
            self.incoming.patience(deadline.saturating_duration_since(Instant::now()));
            let piece = self.incoming.try_piece().ok()??;
            self.text += &String::from_utf8(piece).unwrap().replace("\r\n", "\n");
        }
    }

    /// The next event, which has to come soon.
    #[track_caller]
    pub fn event(&mut self) -> Frame {
        loop {
            let frame = self.next(Duration::from_secs(5)).expect("an event comes");
            if frame.event.is_some() {
                return frame;
            }
        }
    }

    /// Whether nothing but comments comes for a while.
    pub fn is_silent(&mut self) -> bool {
        let mut frame = self.next(Duration::from_millis(300));
        while frame.as_ref().is_some_and(|frame| frame.event.is_none()) {
            frame = self.next(Duration::from_millis(300));
        }
        frame.is_none()
    }

    /// Reads to the end. True: it ended as it should within `patience`.
    pub fn ends(mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.next(deadline.saturating_duration_since(Instant::now())).is_some() {}
        self.incoming.response.complete
    }
}

fn parse(block: &str) -> Frame {
    let mut frame = Frame::default();
    for line in block.lines().filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "" => frame.comments.push(value),
            "id" => frame.id = Some(value),
            "event" => frame.event = Some(value),
            "retry" => frame.retry = Some(value),
            "data" => frame.data = Some(frame.data.map_or(value.clone(), |before| before + "\n" + &value)),
            _ => panic!("the stream has no field {field:?}"),
        }
    }
    frame
}
