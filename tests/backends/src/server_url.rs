//! URLs of servers: `scheme://user:password@host:port/name?key=value`.

use std::net::SocketAddr;

use percent_encoding::percent_decode_str;

use crate::Error;

/// A parsed URL, with its parts percent-decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    pub(crate) user: String,
    pub(crate) password: String,
    /// `host:port`.
    pub(crate) authority: String,
    pub(crate) name: String,
    pub(crate) query: Vec<(String, String)>,
}

impl ServerUrl {
    /// Parses `url`. An error names `variable`, the source of the URL. It never shows the URL, because the URL contains
    /// a password.
    pub(crate) fn parse(
        variable: &str,
        url: &str,
        scheme: &str,
        default_port: u16,
    ) -> Result<ServerUrl, Error> {
        let malformed =
            || format!("{variable} does not have the form {scheme}://user:password@host:port/name");
        let rest =
            url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or_else(malformed)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (location, name) = rest.split_once('/').ok_or_else(malformed)?;
        let (credentials, authority) = location.rsplit_once('@').ok_or_else(malformed)?;
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:{default_port}") };
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query =
            query.map(|(key, value)| Ok((decode(key)?, decode(value)?))).collect::<Result<_, Error>>()?;
        Ok(ServerUrl {
            user: decode(user)?,
            password: decode(password)?,
            authority,
            name: decode(name)?,
            query,
        })
    }

    /// Resolves the host name.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, Error> {
        let address = tokio::net::lookup_host(self.authority.as_str()).await?.next();
        address.ok_or_else(|| format!("{} has no address", self.authority).into())
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
    fn a_url_is_parsed_and_its_parts_are_decoded() {
        let url = "http://GK1:a%2Fb%40@localhost:3900/bucket?region=eu%2D1";
        let parsed = ServerUrl::parse("V", url, "http", 80).unwrap();
        assert_eq!((parsed.user.as_str(), parsed.password.as_str()), ("GK1", "a/b@"));
        assert_eq!((parsed.authority.as_str(), parsed.name.as_str()), ("localhost:3900", "bucket"));
        assert_eq!(parsed.parameter("region"), Some("eu-1"));
    }

    #[test]
    fn a_missing_port_is_the_default_port() {
        let parsed = ServerUrl::parse("V", "postgres://me@db/artifacts", "postgres", 5432).unwrap();
        assert_eq!(parsed.authority, "db:5432");
    }

    #[test]
    fn an_error_shows_the_variable_and_not_the_password() {
        let error = ServerUrl::parse("V", "http://key:hidden@host", "http", 80).unwrap_err().to_string();
        assert!(error.contains('V') && !error.contains("hidden"), "{error}");
    }
}
