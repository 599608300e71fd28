//! [`IpNetwork`]: the addresses of a network, written in CIDR notation. This module must never know what a network is
//! used for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses of a network, such as `10.0.0.0/8` or `fd00::/8`, or one address.
///
/// # Examples
/// ```
/// use artifact_store_server::IpNetwork;
/// let network: IpNetwork = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!("10.1.2.3/8".parse::<IpNetwork>().is_err()); // The address has bits beyond the prefix.
/// # Ok::<(), artifact_store_server::InvalidIpNetwork>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNetwork {
    address: IpAddr,
    prefix: u8,
}

/// The error for a text that is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidIpNetwork;

impl fmt::Display for InvalidIpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a network such as 10.0.0.0/8 or fd00::/8, and not an address")
    }
}

impl std::error::Error for InvalidIpNetwork {}

impl IpNetwork {
    /// Returns whether the network contains this address. An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is compared
    /// as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.shares_prefix(address.to_canonical())
    }

    /// Returns whether the first `prefix` bits of `address` are equal to those of the network.
    fn shares_prefix(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        // If the prefix is 0, the shift returns `None`, because all bits are shifted out. Then every address is in the
        // network.
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(32 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(128 - prefix).unwrap_or(0) == 0
            }
            // One address is IPv4, and the other is IPv6.
            _ => false,
        }
    }

    /// Returns whether all bits beyond the prefix are 0.
    fn has_no_host_bits(&self) -> bool {
        let prefix = u32::from(self.prefix);
        // If the prefix covers all bits, the shift returns `None`. Then there are no bits beyond the prefix.
        match self.address {
            IpAddr::V4(address) => address.to_bits().checked_shl(prefix).unwrap_or(0) == 0,
            IpAddr::V6(address) => address.to_bits().checked_shl(prefix).unwrap_or(0) == 0,
        }
    }
}

impl FromStr for IpNetwork {
    type Err = InvalidIpNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidIpNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidIpNetwork)?;
        // `contains` converts an IPv4-mapped address to IPv4 before it compares. So a network of IPv4-mapped addresses
        // would contain no address.
        if matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
            return Err(InvalidIpNetwork);
        }
        let max_prefix = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            // `parse` would also accept a sign, so the digits are checked first.
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| InvalidIpNetwork)?
            }
            Some(_) => return Err(InvalidIpNetwork),
            None => max_prefix,
        };
        let network = Self { address, prefix };
        if prefix <= max_prefix && network.has_no_host_bits() { Ok(network) } else { Err(InvalidIpNetwork) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_share_its_prefix() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "9.255.255.255", "::1"][..],
            ),
            ("192.0.2.4/30", &["192.0.2.4", "192.0.2.7"], &["192.0.2.3", "192.0.2.8"]),
            ("192.0.2.1", &["192.0.2.1"], &["192.0.2.0"]),
            ("0.0.0.0/0", &["1.2.3.4"], &["2001:db8::1"]),
            ("fd00::/8", &["fd00::1", "fdff::"], &["fe00::", "10.0.0.1"]),
            ("2001:db8::/33", &["2001:db8:7fff::"], &["2001:db8:8000::"]),
            ("::1/128", &["::1"], &["::2"]),
            ("::/0", &["::1"], &["127.0.0.1"]),
        ] {
            let network: IpNetwork = network.parse().unwrap();
            for address in inside {
                assert!(network.contains(address.parse().unwrap()), "{address} in {network:?}");
            }
            for address in outside {
                assert!(!network.contains(address.parse().unwrap()), "{address} not in {network:?}");
            }
        }
    }

    #[test]
    fn a_text_that_is_not_a_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "fd00::1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10/8",
            "a/8",
            "10.0.0.0/8/8",
            "1.2.3.4 ",
            "::ffff:10.0.0.0/104",
        ] {
            assert_eq!(text.parse::<IpNetwork>(), Err(InvalidIpNetwork), "{text}");
        }
    }
}
