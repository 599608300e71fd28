//! The bodies of the wire, through the public types.

mod decode;
mod put;
mod registry;
