//! The URL of a JWK set: [`JwksUrl`], and the addresses that its host may resolve to.
//!
//! The operator of the server sets the URL. Nevertheless two things are refused: a connection to the metadata service
//! of a cloud machine (a link-local address), and a request to another machine without TLS. This module must never know
//! a response.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::Uri;

/// The URL of the JWK set of a provider. The scheme is https, or http if the host is this machine.
///
/// `Display` and `Debug` show scheme, host and path. The query can contain a secret and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl {
    /// A name or an address. An IPv6 address is without brackets.
    host: String,
    port: u16,
    tls: bool,
    /// The value of the header `Host`.
    authority: String,
    /// Path and query.
    target: String,
}

impl JwksUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// A sentence that says what is wrong. The sentence contains no user name, password or query.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('#') {
            return Err("the URL has a fragment (#…), which is never sent; leave it out".into());
        }
        let uri: Uri = text.parse().map_err(|_| format!("it is not a URL; it takes {LEGAL}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("it is not a complete URL; it takes {LEGAL}"));
        };
        if authority.as_str().contains('@') {
            return Err("the URL has a user name or password; keys are public, so leave it out".into());
        }
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(format!("it is neither https nor http; it takes {LEGAL}")),
        };
        let host = without_brackets(authority.host());
        let ip: Option<IpAddr> = host.parse().ok();
        let default_port = if tls { 443 } else { 80 };
        let invalid_authority = || format!("its host or port is not valid; it takes {LEGAL}");
        if host.is_empty() {
            return Err(invalid_authority());
        }
        let port = parse_port(authority.as_str(), default_port).ok_or_else(invalid_authority)?;
        let is_this_machine =
            host.eq_ignore_ascii_case("localhost") || ip.is_some_and(|address| address.is_loopback());
        if !tls && !is_this_machine {
            return Err(format!(
                "'{host}' is not this machine, and plain http does not protect keys from being replaced on the way; \
                 use https"
            ));
        }
        let url = Self {
            host: host.to_owned(),
            port,
            tls,
            authority: authority.as_str().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        };
        if let Some(address) = ip {
            url.check_address(address)?;
        }
        Ok(url)
    }

    /// Checks that this process may connect to `address`, one of the addresses of the host.
    ///
    /// # Errors
    /// A sentence that names the host and the address.
    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), String> {
        // An IPv6 address that contains an IPv4 address (`::ffff:…`) is checked as this IPv4 address.
        let address = address.to_canonical();
        if !self.tls && !address.is_loopback() {
            return Err(format!(
                "'{}' is not this machine (it is {address}), and http is only allowed to this machine",
                self.host
            ));
        }
        let is_link_local_or_broadcast = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4 == Ipv4Addr::BROADCAST,
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if is_link_local_or_broadcast || address.is_unspecified() || address.is_multicast() {
            return Err(format!(
                "'{}' is a link-local, unspecified, broadcast or multicast address ({address})",
                self.host
            ));
        }
        Ok(())
    }

    /// The host without brackets.
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

    /// The path and the query, for the request line.
    pub(super) fn target(&self) -> &str {
        &self.target
    }
}

/// Removes the brackets that an IPv6 address has in a URL.
fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Returns the port in `authority`, or `default` if the authority has no port. `None`: the port is not valid.
fn parse_port(authority: &str, default: u16) -> Option<u16> {
    match authority.rsplit_once(':') {
        // If a bracket follows the last colon, the colon is part of an IPv6 address.
        Some((_, digits)) if !digits.ends_with(']') => digits.parse::<u16>().ok().filter(|port| *port != 0),
        _ => Some(default),
    }
}

/// A description of legal URLs, for error messages.
pub const LEGAL: &str = "an https URL such as https://login.example/.well-known/jwks.json, or an http URL if the host \
     is this machine (127.0.0.1, [::1], localhost)";

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
