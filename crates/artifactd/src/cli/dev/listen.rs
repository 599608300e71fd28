//! The value of `--listen`: an address, or a port of this machine. This module must never resolve a name.

use std::net::{Ipv4Addr, SocketAddr};

/// Parses an address and a port. An empty host and `localhost` mean 127.0.0.1: the system is not asked to resolve a
/// name.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let is_local = host.is_empty() || host.eq_ignore_ascii_case("localhost");
    // `parse` alone would also accept a plus sign.
    let is_number = port.bytes().all(|digit| digit.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if is_local && is_number => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err("it takes a loopback address and a port, such as 127.0.0.1:18080, [::1]:18080, localhost:18080 or \
                  :18080; with the port 0 the system chooses a free one"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_be_a_name_of_this_machine_or_left_out() {
        for (text, addr) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:1", "[::1]:1"),
            ("localhost:18080", "127.0.0.1:18080"),
            ("LocalHost:0", "127.0.0.1:0"),
            (":18080", "127.0.0.1:18080"),
            ("18080", "127.0.0.1:18080"),
            // The command refuses this address later, because it is not a loopback address.
            ("0.0.0.0:1", "0.0.0.0:1"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), addr, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_examples() {
        for text in [
            "",
            ":",
            "localhost",
            "localhost:",
            ":65536",
            ":+1",
            ":-1",
            "example.org:80",
            "::1:80",
            "1.2.3.4",
            "a b:1",
        ] {
            assert!(parse_listen(text).unwrap_err().contains("localhost:18080"), "{text}");
        }
    }
}
