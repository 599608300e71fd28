//! The resolver, through its public methods.

mod errors;
mod events;
mod health;
mod inspection;
mod methods;
mod oracle;
mod policy;
mod replicated;
mod subscribers;
mod support;
