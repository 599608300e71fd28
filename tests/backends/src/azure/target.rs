//! What a request addresses: `/ACCOUNT/CONTAINER/BLOB?QUERY`, as for an address of an emulator.

use http::Uri;
use percent_encoding::percent_decode_str;

use super::error::{Failure, bad_request};

/// The parts of a request's address, percent-decoded.
#[derive(Debug)]
pub(crate) struct Target {
    pub(super) account: String,
    /// Empty if the request addresses the account.
    pub(super) container: String,
    /// Empty if the request addresses the account or a container.
    pub(super) blob: String,
    pub(crate) query: Query,
}

/// The parameters of a query, percent-decoded.
#[derive(Debug, Default)]
pub(crate) struct Query(pub(super) Vec<(String, String)>);

impl Target {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Failure> {
        let path = uri.path().trim_start_matches('/');
        let (account, rest) = path.split_once('/').unwrap_or((path, ""));
        let (container, blob) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self {
            account: decode(account)?,
            container: decode(container)?,
            blob: decode(blob)?,
            query: Query::parse(uri.query().unwrap_or_default())?,
        })
    }
}

impl Query {
    pub(crate) fn parse(query: &str) -> Result<Self, Failure> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Clients write a space of a query as `+`.
            Ok((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        });
        Ok(Self(pairs.collect::<Result<_, Failure>>()?))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> Result<String, Failure> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| bad_request("InvalidUri", "the address is not UTF-8"))
}
