//! The event stream, parsed as a browser parses it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::StreamingResponse;
use super::request::Request;
use super::server::Server;

/// A frame of the stream, up to its empty line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// The field `id`.
    pub id: Option<String>,
    /// The field `event`.
    pub event: Option<String>,
    /// The field `data`, its lines joined.
    pub data: Option<String>,
    /// The field `retry`.
    pub retry: Option<String>,
    /// The comments.
    pub comments: Vec<String>,
}

impl Frame {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap_or_default())
            .unwrap_or_else(|_| panic!("no JSON data in {self:?}"))
    }
}

/// An open stream.
#[derive(Debug)]
pub struct EventStream {
    incoming: StreamingResponse,
    text: String,
}

impl EventStream {
    /// Opens a stream and reads its first frame, which is `retry`.
    pub fn open(server: &Server, request: &Request) -> Self {
        Self::open_at(server.addr(), request)
    }

    /// The same at an address.
    pub fn open_at(addr: SocketAddr, request: &Request) -> Self {
        let incoming = request.send_streaming(addr);
        let response = &incoming.response;
        assert_eq!(response.status, 200, "{response:?}");
        let kind = response.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/event-stream"), "{response:?}");
        let mut stream = Self { incoming, text: String::new() };
        let first = stream.next_frame(Duration::from_secs(5)).expect("the first frame is retry");
        assert_eq!(first, Frame { retry: Some("3000".into()), ..Frame::default() });
        stream
    }

    /// A header of the response.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.incoming.response.header(name)
    }

    /// The next frame, or `None` if nothing arrived in time or the stream has ended.
    pub fn next_frame(&mut self, timeout: Duration) -> Option<Frame> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let frame: String = self.text.drain(..end + 2).collect();
                return Some(parse_frame(&frame));
            }
            self.incoming.set_read_timeout(deadline.saturating_duration_since(Instant::now()));
            let data = self.incoming.try_next_data().ok()??;
            self.text += &String::from_utf8(data).unwrap().replace("\r\n", "\n");
        }
    }

    /// The next event. Panics if none arrives within 5 seconds.
    #[track_caller]
    pub fn next_event(&mut self) -> Frame {
        loop {
            let frame = self.next_frame(Duration::from_secs(5)).expect("an event arrives");
            if frame.event.is_some() {
                return frame;
            }
        }
    }

    /// Whether only comments arrive for 300 ms.
    pub fn is_silent(&mut self) -> bool {
        let mut frame = self.next_frame(Duration::from_millis(300));
        while frame.as_ref().is_some_and(|frame| frame.event.is_none()) {
            frame = self.next_frame(Duration::from_millis(300));
        }
        frame.is_none()
    }

    /// Reads to the end. Returns true if the stream ended properly within `timeout`.
    pub fn ends_within(mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.next_frame(deadline.saturating_duration_since(Instant::now())).is_some() {}
        self.incoming.response.complete
    }
}

fn parse_frame(block: &str) -> Frame {
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
            _ => panic!("unknown field {field:?}"),
        }
    }
    frame
}
