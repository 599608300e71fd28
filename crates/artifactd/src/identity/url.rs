//! Where a JWK set may be fetched from: [`JwksUrl`], and the addresses that its host may turn out to have.
//!
//! The URL is the operator's, and still the server must not be led to talk to a machine's own metadata service or to send a
//! request for keys in the clear. It must never know what an answer holds.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use axum::http::Uri;

/// The address of a key provider's JWK set: https, or http where the host is this machine itself.
///
/// Shows as scheme, host and path: a query, which may hold a secret, is in neither `Display` nor `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl {
    /// As a name or address; that of IPv6 without its brackets.
    host: String,
    port: u16,
    tls: bool,
    /// What goes into `Host`.
    authority: String,
    /// What is asked for: the path and the query.
    target: String,
}

impl JwksUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it and repeats no user name, password or query.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('#') {
            return Err("the URL has a fragment (#…), which is never sent; leave it out".into());
        }
        let uri: Uri = text.parse().map_err(|_| format!("it is no URL; it takes {LEGAL}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("it is no whole URL; it takes {LEGAL}"));
        };
        if authority.as_str().contains('@') {
            return Err("the URL has a user name or password; keys are public, so leave it out".into());
        }
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(format!("it is neither https nor http; it takes {LEGAL}")),
        };
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let literal: Option<IpAddr> = host.parse().ok();
        let default = if tls { 443 } else { 80 };
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, digits)) if !digits.ends_with(']') => digits.parse().ok().filter(|port| *port != 0),
            _ => Some(default),
        };
        let Some(port) = port.filter(|_| !host.is_empty()) else {
            return Err(format!("its host or port is none; it takes {LEGAL}"));
        };
        if !tls && !host.eq_ignore_ascii_case("localhost") && !literal.is_some_and(|it| it.is_loopback()) {
            return Err(format!(
                "'{host}' is not this machine, and over plain http anybody on the way could put in keys; use https"
            ));
        }
        let url = Self {
            host: host.to_owned(),
            port,
            tls,
            authority: authority.as_str().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        };
        if let Some(literal) = literal {
            url.allows(literal)?;
        }
        Ok(url)
    }

    /// Whether a connection may go to this address, which the host turned out to have.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn allows(&self, address: IpAddr) -> Result<(), String> {
        let address = address.to_canonical();
        if !self.tls && !address.is_loopback() {
            return Err(format!(
                "'{}' is not this machine (it is {address}), and http goes no further",
                self.host
            ));
        }
        let link_local = match address {
            IpAddr::V4(it) => it.is_link_local() || it == Ipv4Addr::BROADCAST,
            IpAddr::V6(it) => it.is_unicast_link_local(),
        };
        if link_local || address.is_unspecified() || address.is_multicast() {
            return Err(format!(
                "'{}' is a link-local address or otherwise not one that a host has for itself ({address})",
                self.host
            ));
        }
        Ok(())
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }
}

/// What is legal, for people.
pub(crate) const LEGAL: &str = "an https URL such as https://login.example/.well-known/jwks.json, or an http one where the host is this machine \
     (127.0.0.1, [::1], localhost)";

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwksUrl({self})")
    }
}
