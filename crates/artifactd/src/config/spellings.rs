//! Parses sizes, durations and addresses. A spelling that is not the standard one is accepted if it has only one
//! meaning.
//! This module must never know which keys the configuration has.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use artifact_store::core::{parse_duration, parse_size};

/// Parses a number of bytes. Unlike [`parse_size`], this function also accepts `64M`, `64 MiB` and `64mib`. `M` alone
/// means MiB, and the same holds for `K`, `G` and `T`.
pub(super) fn size(text: &str) -> Option<u64> {
    parse_size(text).or_else(|| {
        let (number, unit) = split_unit(text)?;
        let unit = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => "B",
            "k" | "ki" | "kib" => "KiB",
            "m" | "mi" | "mib" => "MiB",
            "g" | "gi" | "gib" => "GiB",
            "t" | "ti" | "tib" => "TiB",
            "kb" => "kB",
            "mb" => "MB",
            "gb" => "GB",
            "tb" => "TB",
            _ => return None,
        };
        parse_size(&format!("{number}{unit}"))
    })
}

/// Parses a duration. Unlike [`parse_duration`], this function also accepts `10 s`, `10sec` and `5 minutes`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    parse_duration(text).or_else(|| {
        let (number, unit) = split_unit(text)?;
        let unit = match unit.to_ascii_lowercase().as_str() {
            "ms" | "msec" | "millisecond" | "milliseconds" => "ms",
            "s" | "sec" | "secs" | "second" | "seconds" => "s",
            "min" | "mins" | "minute" | "minutes" => "m",
            "h" | "hr" | "hour" | "hours" => "h",
            "d" | "day" | "days" => "d",
            // Only the lower-case `m` is a minute, because `M` could also mean a month.
            _ if unit == "m" => "m",
            _ => return None,
        };
        parse_duration(&format!("{number}{unit}"))
    })
}

/// Parses an address and a port. `localhost:PORT` means 127.0.0.1. `:PORT` and `*:PORT` mean all IPv4 addresses.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let ip = match host {
        "" | "*" => Ipv4Addr::UNSPECIFIED,
        _ if host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST,
        _ => return None,
    };
    // `parse` alone would also accept a plus sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port: u16 = port.parse().ok()?;
    Some((ip, port).into())
}

/// Splits `text` into its leading digits and its unit. The unit may be empty. `None`: the text does not begin with a
/// digit.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if digits_end == 0 {
        return None;
    }
    let (digits, unit) = text.split_at(digits_end);
    Some((digits, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::{Duration, address, duration, size};

    #[test]
    fn a_size_may_have_a_space_and_a_short_unit() {
        for text in ["64M", "64 MiB", "64m", "64Mi", " 64MiB ", "67108864", "67108864 B"] {
            assert_eq!(size(text), Some(64 << 20), "{text}");
        }
        assert_eq!(size("10G"), Some(10 << 30));
        assert_eq!(size("64 MB"), Some(64_000_000));
        for text in ["", "M", "-1", "1.5G", "64 kittens", "64 M B", "99999999999T"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_needs_a_unit_that_has_one_meaning() {
        for text in ["90s", "90 s", "90sec", "90 Seconds"] {
            assert_eq!(duration(text), Some(Duration::from_secs(90)), "{text}");
        }
        assert_eq!(duration("5 minutes"), Some(Duration::from_mins(5)));
        assert_eq!(duration("5 m"), Some(Duration::from_mins(5)));
        for text in ["30", "5M", "5 months", "s", ""] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_may_leave_out_the_host_or_name_this_machine() {
        for (text, expected) in [
            ("localhost:18080", "127.0.0.1:18080"),
            ("LOCALHOST:1", "127.0.0.1:1"),
            (":18080", "0.0.0.0:18080"),
            ("*:18080", "0.0.0.0:18080"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["18080", "localhost", "db.example:80", ":", ":+1", ":99999", "::1", "http://localhost:1"]
        {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
