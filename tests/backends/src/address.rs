//! Addresses of servers as URLs: `scheme://user:password@host:port/name?key=value`.

use std::net::SocketAddr;

use percent_encoding::percent_decode_str;

use crate::Error;

/// A URL taken apart, its parts decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) user: String,
    pub(crate) password: String,
    /// `host:port`.
    pub(crate) authority: String,
    pub(crate) name: String,
    pub(crate) query: Vec<(String, String)>,
}

impl Address {
    /// Takes `url` apart. An error names `variable`, where it came from, and never shows the URL, which has a password.
    pub(crate) fn parse(
        variable: &str,
        url: &str,
        scheme: &str,
        default_port: u16,
    ) -> Result<Address, Error> {
        let wrong = || format!("{variable} is not of the form {scheme}://user:password@host:port/name");
        let rest = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or_else(wrong)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, name) = rest.split_once('/').ok_or_else(wrong)?;
        let (login, authority) = place.rsplit_once('@').ok_or_else(wrong)?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:{default_port}") };
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query =
            query.map(|(key, value)| Ok((decode(key)?, decode(value)?))).collect::<Result<_, Error>>()?;
        Ok(Address {
            user: decode(user)?,
            password: decode(password)?,
            authority,
            name: decode(name)?,
            query,
        })
    }

    /// Where it is, as a number.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, Error> {
        let found = tokio::net::lookup_host(self.authority.as_str()).await?.next();
        found.ok_or_else(|| format!("{} has no address", self.authority).into())
    }

    pub(crate) fn parameter(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> Result<String, Error> {
    Ok(percent_decode_str(text).decode_utf8()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_apart_and_its_parts_are_decoded() {
        let url = "http://GK1:a%2Fb%40@localhost:3900/bucket?region=eu%2D1";
        let address = Address::parse("V", url, "http", 80).unwrap();
        assert_eq!((address.user.as_str(), address.password.as_str()), ("GK1", "a/b@"));
        assert_eq!((address.authority.as_str(), address.name.as_str()), ("localhost:3900", "bucket"));
        assert_eq!(address.parameter("region"), Some("eu-1"));
    }

    #[test]
    fn a_port_that_is_not_there_is_the_usual_one() {
        let address = Address::parse("V", "postgres://me@db/artifacts", "postgres", 5432).unwrap();
        assert_eq!(address.authority, "db:5432");
    }

    #[test]
    fn an_error_shows_the_variable_and_not_the_password() {
        let error = Address::parse("V", "http://key:hidden@host", "http", 80).unwrap_err().to_string();
        assert!(error.contains('V') && !error.contains("hidden"), "{error}");
    }
}
