//! Connections: which connections are admitted, what each connection does, and where the requests of a connection begin
//! and end. This module must never know a handler.

mod activity;
mod counts;
mod fragment_detector;
mod head_error;
mod refuser;
mod shared_socket;
mod state;
mod table;

pub use counts::ConnectionCounts;
pub(crate) use head_error::HeadErrorStream;
pub(crate) use refuser::ConnectionRefuser;
pub(crate) use shared_socket::{SharedSocket, SocketWatch};
pub(crate) use state::{BodyGuard, ConnectionState};
pub(crate) use table::{
    Admission, AdmittedConnection, ConnectionLimits, ConnectionTable, QueueDecision, RequestAdmission,
};
