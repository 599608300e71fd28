//! The harnesses of the driver over the crate `object_store`: that of the driver's own tests, and one for servers.

#[path = "../../../drivers/object-store/tests/harness/mod.rs"]
pub(crate) mod harness;
pub(crate) mod servers;
