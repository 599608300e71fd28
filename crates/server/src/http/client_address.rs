//! The address of the client of a request, for the access log. Normally this is the address of the connection. If the
//! connection comes from a trusted proxy, the proxies name the address of the client in a header. This module must
//! never know what the address is used for.
//!
//! Each proxy appends an entry to `X-Forwarded-For` (or `Forwarded`, RFC 7239): the address from which the proxy got
//! the request. So the entries of the trusted proxies are at the right. A client may have invented all entries to the
//! left of them. So the entries are read from the right, and the first address that is not a trusted proxy is the
//! client.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HeaderName};

use crate::ip_network::IpNetwork;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the client's address. `peer` is the address of the connection. `trusted` lists the networks of the trusted
/// proxies.
///
/// If a request has both headers and they name different addresses, `peer` is returned. In this case the client may
/// have sent the header that the proxies do not write.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNetwork]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    // `None`: the request does not have the header `name`.
    let find = |name: &HeaderName, parse: fn(&str) -> Option<IpAddr>| {
        headers.contains_key(name).then(|| rightmost_untrusted(peer, headers, name, parse, trusted))
    };
    match (find(&X_FORWARDED_FOR, parse_node), find(&FORWARDED, parse_forwarded)) {
        (Some(address), None) | (None, Some(address)) => address,
        (Some(address), Some(other)) if address == other => address,
        _ => peer,
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNetwork]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Reads the entries from the right and returns the first address that is not trusted. The search stops at an entry
/// that cannot be parsed. If no untrusted address is found, returns the last address that was parsed. If no address was
/// parsed, returns `peer`.
fn rightmost_untrusted(
    peer: IpAddr,
    headers: &HeaderMap,
    name: &HeaderName,
    parse: fn(&str) -> Option<IpAddr>,
    trusted: &[IpNetwork],
) -> IpAddr {
    let mut last = peer;
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    for line in lines.into_iter().rev() {
        // The line is split at commas within quotes too. Otherwise a client could open a quote that hides the entry of
        // a proxy.
        for entry in String::from_utf8_lossy(line.as_bytes()).rsplit(',') {
            let Some(address) = parse(entry.trim()) else { return last };
            last = address.to_canonical();
            if !is_trusted(last, trusted) {
                return last;
            }
        }
    }
    last
}

/// Parses an address with or without a port. An IPv6 address may be in brackets.
fn parse_node(text: &str) -> Option<IpAddr> {
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    text.parse().ok().or_else(in_brackets).or_else(with_port)
}

/// Parses the parameter `for` of an element of `Forwarded`. `None`: there is no such parameter, its value is not an
/// address, or the text may be a part of a quoted value.
///
/// A part of a quoted value must not count as an element. A proxy may repeat the `Host` of the request in quotes, and
/// the client chooses this text.
fn parse_forwarded(element: &str) -> Option<IpAddr> {
    // With an odd number of quotes, the element begins or ends within a quoted value. A backslash can escape a quote.
    if element.matches('"').count() % 2 == 1 || element.contains('\\') {
        return None;
    }
    let node = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    })?;
    let unquoted = node.strip_prefix('"').and_then(|node| node.strip_suffix('"'));
    parse_node(unquoted.unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// The address of the client of a request with these headers. The proxies in `10.0.0.0/8` and `::1` are trusted.
    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let headers =
            lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let trusted = ["10.0.0.0/8", "::1"].map(|network| network.parse().unwrap());
        client_address(peer.parse().unwrap(), &headers.collect(), &trusted).to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        for name in ["x-forwarded-for", "forwarded"] {
            assert_eq!(client("192.0.2.1", &[(name, "for=1.2.3.4"), (name, "1.2.3.4")]), "192.0.2.1");
        }
        assert_eq!(client("::ffff:192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_untrusted_address_is_the_client() {
        for (value, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.0.0.2, 10.9.9.9", "1.2.3.4"),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            // An entry that cannot be parsed hides the entries to the left of it.
            ("1.2.3.4, unknown", "10.0.0.1"),
            ("1.2.3.4, x, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", value)]), expected, "{value}");
        }
        let lines = [("x-forwarded-for", "6.6.6.6, 1.2.3.4"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(client("10.0.0.1", &lines), "1.2.3.4");
        assert_eq!(client("::1", &lines), "1.2.3.4");
    }

    #[test]
    fn bytes_that_are_not_ascii_do_not_hide_the_entry_of_a_proxy() {
        let line = HeaderValue::from_bytes(b"\xe9, 1.2.3.4").unwrap();
        let headers = [(HeaderName::from_static("x-forwarded-for"), line)].into_iter().collect();
        let client = client_address([10, 0, 0, 1].into(), &headers, &["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(client.to_string(), "1.2.3.4");
    }

    #[test]
    fn the_header_forwarded_names_the_client_as_x_forwarded_for_does() {
        for (value, expected) in [
            ("for=1.2.3.4", "1.2.3.4"),
            ("for=6.6.6.6, For=\"[2001:db8::7]:4711\";proto=https;by=10.0.0.1", "2001:db8::7"),
            ("proto=http;for=1.2.3.4;host=a, for=10.0.0.2", "1.2.3.4"),
            ("for=1.2.3.4, for=_hidden", "10.0.0.1"),
            ("for=1.2.3.4, proto=https", "10.0.0.1"),
            // A quote that a client opens does not hide the entry of the proxy.
            ("for=\"6.6.6.6, for=1.2.3.4", "1.2.3.4"),
            // The header is split at every comma, also inside quotes, and an entry with a part of a quoted value is not
            // used. In these two rows, the client's address is in such an entry, so the result is the peer's address.
            ("for=1.2.3.4;host=\"x,for=6.6.6.6;y\"", "10.0.0.1"),
            ("host=\"x,for=6.6.6.6;y\";for=1.2.3.4", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn if_both_headers_name_different_addresses_the_peer_is_the_client() {
        let disagree = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=6.6.6.6")];
        assert_eq!(client("10.0.0.1", &disagree), "10.0.0.1");
        let agree = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("10.0.0.1", &agree), "1.2.3.4");
    }
}
