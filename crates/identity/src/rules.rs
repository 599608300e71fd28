//! What a token must satisfy in addition to its signature: [`Rules`].

use std::time::Duration;

use super::algorithm::Algorithm;

/// What a token must satisfy in addition to its signature. By default, all algorithms are allowed, and clocks may
/// differ by one minute. The issuer and the audience are not checked.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The allowed algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The required value of `iss`. `None`: `iss` is not checked.
    pub issuer: Option<String>,
    /// The value that `aud` must be or contain. `None`: `aud` is not checked.
    pub audience: Option<String>,
    /// The largest allowed difference between the clock of the issuer and the clock of this server.
    pub clock_skew: Duration,
    /// Values of `typ` that are allowed in addition to `JWT`, `at+jwt`, `application/at+jwt` and an absent `typ`.
    pub types: Vec<String>,
    /// Whether the token alone names the session. If false, the header `X-Harbor-Session` overrides the token's claim
    /// `session`.
    pub session_bound: bool,
}

impl Default for Rules {
    fn default() -> Self {
        let algorithms = Algorithm::ALL.to_vec();
        Self {
            algorithms,
            issuer: None,
            audience: None,
            clock_skew: Duration::from_mins(1),
            types: Vec::new(),
            session_bound: false,
        }
    }
}
