//! Tokens, valid and broken.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::program::signing_key;

/// An identity and the scopes of its token.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// The session.
    pub session: String,
    /// The scopes.
    pub scopes: Vec<String>,
}

impl Identity {
    /// An identity without scopes.
    pub fn new(tenant: &str, user: &str, session: &str) -> Self {
        Self { tenant: tenant.into(), user: user.into(), session: session.into(), scopes: Vec::new() }
    }

    /// The same identity with one more scope.
    #[must_use]
    pub fn with_scope(&self, scope: &str) -> Self {
        let mut identity = self.clone();
        identity.scopes.push(scope.into());
        identity
    }

    /// The same identity with the scope `admin`.
    #[must_use]
    pub fn with_admin(&self) -> Self {
        self.with_scope("admin")
    }

    /// The same identity with the scope `console:fleet`.
    #[must_use]
    pub fn with_fleet(&self) -> Self {
        self.with_scope("console:fleet")
    }

    /// The same identity with the scope `artifacts:delete`.
    #[must_use]
    pub fn with_delete(&self) -> Self {
        self.with_scope("artifacts:delete")
    }

    /// The scope in a request body that names this identity.
    pub fn scope(&self) -> Value {
        json!({"tenant": self.tenant, "user": self.user, "session": self.session})
    }

    /// The claims of a valid token.
    pub fn claims(&self) -> Value {
        json!({
            "tenant": self.tenant, "user": self.user, "session": self.session, "scopes": self.scopes,
            "exp": unix_time() + 3600,
        })
    }

    /// A valid token.
    pub fn token(&self) -> String {
        sign_token(&self.claims())
    }
}

/// Seconds since 1970.
pub fn unix_time() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap()
}

/// A token with these claims, signed with the server's key.
pub fn sign_token(claims: &Value) -> String {
    let keys = signing_key();
    sign_token_with(&keys.pem, Some(&keys.kid), claims)
}

/// A token with these claims, signed with an EC or RSA private key in PEM.
pub fn sign_token_with(pem: &str, kid: Option<&str>, claims: &Value) -> String {
    let (key, algorithm) = match EncodingKey::from_ec_pem(pem.as_bytes()) {
        Ok(key) => (key, Algorithm::ES256),
        Err(_) => (EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), Algorithm::RS256),
    };
    let mut header = Header::new(algorithm);
    header.kid = kid.map(ToOwned::to_owned);
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

/// A token with exactly this header, these claims and this signature.
pub fn forge_token(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    format!(
        "{}.{}.{}",
        part(header.to_string().as_bytes()),
        part(claims.to_string().as_bytes()),
        part(signature)
    )
}
