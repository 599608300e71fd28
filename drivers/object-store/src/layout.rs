//! Keys in the storage: [`Layout`]. The components of a key contain hashes. Core computes a hash for each scope part, in
//! a key token, and this module truncates it. This module computes the hash that is an artifact's name.
//!
//! The last component of a record's key identifies the artifact: it is a hash of 160 bits over the whole scope and the
//! id. The components before it only narrow listings, so 80 bits are enough. If the components of two scopes are the
//! same, a listing only looks at more keys, because the listing also compares the scope in each record.
//!
//! A listing with a prefix compares whole components, so what is listed together has components in common.
//!
//! [`FORMAT_VERSION`] identifies the layout: a changed layout needs another version. This module must never send a
//! request.

use artifact_store_core::{ArtifactId, Hasher, KeyToken, Scope, ScopePattern, StoreError, TenantPattern};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use object_store::path::{Path, PathPart};

/// The format version of stores that this build creates, and the only one that it opens.
pub(crate) const FORMAT_VERSION: u64 = 1;
/// The number of components of an artifact: tenant, user, session, and the name.
pub(crate) const DEPTH: usize = 4;
/// The number of base32 digits of a component that narrows listings: 80 bits.
const COMPONENT_DIGITS: usize = 16;
/// The number of base32 digits of an artifact's name: 160 bits.
const NAME_DIGITS: usize = 32;
/// The first bytes that are hashed for an artifact's name. They separate the name from other hashes of the same tokens.
const NAME_DOMAIN: &[u8] = b"artifact-store object-store key v1\0";
/// The number of hex digits of a random name: 128 bits.
const RANDOM_DIGITS: usize = 32;
/// The longest prefix of a store, in bytes. With it, the driver's longest key has less than 512 bytes.
pub(crate) const MAX_PREFIX_BYTES: usize = 256;

/// 128 random bits in hex: a name that is used once.
pub(crate) fn random_hex() -> Result<String, StoreError> {
    let mut bytes = [0; RANDOM_DIGITS / 2];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::backend("the system has no randomness").with_source(error))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// Whether `text` has the form that [`random_hex`] returns.
pub(crate) fn is_random_hex(text: &str) -> bool {
    text.len() == RANDOM_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The keys of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: Path,
}

impl Layout {
    /// The layout below `prefix`.
    pub(crate) fn new(prefix: Path) -> Self {
        Self { prefix }
    }

    /// The key `relative`, whose components are joined by slashes, below the prefix.
    fn key(&self, relative: &str) -> Path {
        self.prefix.parts().chain(relative.split('/').map(PathPart::from)).collect()
    }

    /// The components of `key` below the prefix, joined by slashes; `None` if `key` is not below it.
    fn relative(&self, key: &Path) -> Option<String> {
        let parts: Vec<String> =
            key.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    /// The key of the object `FORMAT`. A prefix with this object is a store.
    pub(crate) fn format_key(&self) -> Path {
        self.key("FORMAT")
    }

    /// The key of an object that a probe writes. `random` makes the key unique.
    pub(crate) fn probe_key(&self, random: &str) -> Path {
        self.key(&format!("u/{random}"))
    }

    /// The prefix of the objects that probes write.
    pub(crate) fn probes_prefix(&self) -> Path {
        self.key("u")
    }

    /// Whether `key` is the key of an object that a probe writes.
    pub(crate) fn is_probe_key(&self, key: &Path) -> bool {
        self.relative(key).is_some_and(|key| key.strip_prefix("u/").is_some_and(is_random_hex))
    }

    /// The key of the object that exists while a sweep is running.
    pub(crate) fn sweep_key(&self) -> Path {
        self.key("SWEEP")
    }

    /// The prefix of the claims of sweeps.
    pub(crate) fn sweep_claims(&self) -> Path {
        self.key("c/sweep")
    }

    /// The key of an artifact's record.
    pub(crate) fn record_key(&self, scope: &Scope, id: &ArtifactId) -> Path {
        self.key(&format!("a/{}", artifact_path(scope, id)))
    }

    /// The prefix of the claims on the key of an artifact's record.
    pub(crate) fn claims_on(&self, scope: &Scope, id: &ArtifactId) -> Path {
        self.key(&format!("c/{}", artifact_path(scope, id)))
    }

    /// The prefix of all claims.
    pub(crate) fn claims_prefix(&self) -> Path {
        self.key("c")
    }

    /// Whether `key` is the key of a claim, of a put or of a sweep.
    pub(crate) fn is_claim_key(&self, key: &Path) -> bool {
        let Some(key) = self.relative(key) else { return false };
        let Some((claimed, random)) = key.strip_prefix("c/").and_then(|key| key.rsplit_once('/')) else {
            return false;
        };
        is_random_hex(random) && (claimed == "sweep" || components(claimed).is_some())
    }

    /// The key of a data object in `scope`. `random` makes the key unique.
    pub(crate) fn data_key(&self, scope: &Scope, random: &str) -> Path {
        self.key(&format!("d/{}/{random}", session_path(scope)))
    }

    /// The prefix of data objects.
    pub(crate) fn data_prefix(&self) -> Path {
        self.key("d")
    }

    /// The path of the session and the random name in the key of a data object; `None` if `key` is not one.
    pub(crate) fn data_parts(&self, key: &Path) -> Option<(String, String)> {
        let key = self.relative(key)?;
        let (session, random) = key.strip_prefix("d/")?.rsplit_once('/')?;
        let is_valid = is_random_hex(random) && is_session_path(session);
        is_valid.then(|| (session.to_owned(), random.to_owned()))
    }

    /// The prefix of the records of a session. `session` is a path that [`data_parts`](Self::data_parts) returned.
    pub(crate) fn session_records(&self, session: &str) -> Path {
        self.key(&format!("a/{session}"))
    }

    /// Whether `key` is the key of a record.
    pub(crate) fn is_record_key(&self, key: &Path) -> bool {
        self.relative(key)
            .is_some_and(|key| key.strip_prefix("a/").is_some_and(|path| components(path).is_some()))
    }

    /// The filter for keys of records that `pattern` covers. The filter ignores the task, because no component of a key
    /// is for the task alone. So callers compare the task in the record.
    pub(crate) fn key_filter(&self, pattern: &ScopePattern) -> KeyFilter {
        let components = [
            match &pattern.tenant {
                TenantPattern::One(tenant) => Some(tenant_component(&KeyToken::of_tenant(tenant))),
                TenantPattern::AllTenants => None,
            },
            pattern.user.as_ref().map(|user| short_hash(&KeyToken::of_user(user))),
            pattern.session.as_ref().map(|session| short_hash(&KeyToken::of_session(session))),
        ];
        // The prefix ends before the first component that the pattern leaves open.
        let known = components.iter().map_while(Option::as_deref);
        let path: Vec<&str> = ["a"].into_iter().chain(known).collect();
        KeyFilter { prefix: self.key(&path.join("/")), components }
    }

    /// Whether `filter` selects `key`. `false` if `key` is not the key of a record.
    pub(crate) fn matches(&self, filter: &KeyFilter, key: &Path) -> bool {
        let Some(key) = self.relative(key) else { return false };
        let Some(found) = key.strip_prefix("a/").and_then(components) else { return false };
        filter
            .components
            .iter()
            .zip(found)
            .all(|(expected, component)| expected.as_ref().is_none_or(|expected| expected == component))
    }
}

/// Selects the keys of records that a listing looks at.
#[derive(Debug)]
pub(crate) struct KeyFilter {
    /// The prefix of all selected keys.
    pub(crate) prefix: Path,
    /// The components that a key must have; `None` matches every component.
    components: [Option<String>; DEPTH - 1],
}

/// The components of an artifact, joined by slashes: tenant, user, session and name.
fn artifact_path(scope: &Scope, id: &ArtifactId) -> String {
    let mut hasher = Hasher::new();
    hasher.update(NAME_DOMAIN);
    for token in KeyToken::of_scope(scope).iter().chain([&KeyToken::of_id(id)]) {
        // No token contains a slash, so the slash separates the tokens.
        hasher.update(token.as_str().as_bytes());
        hasher.update(b"/");
    }
    let mut name = BASE32_NOPAD.encode(hasher.finish().as_bytes()).to_ascii_lowercase();
    name.truncate(NAME_DIGITS);
    format!("{}/{name}", session_path(scope))
}

/// The components of a session, joined by slashes: tenant, user, session.
fn session_path(scope: &Scope) -> String {
    let [tenant, user, session, _] = KeyToken::of_scope(scope);
    format!("{}/{}/{}", tenant_component(&tenant), short_hash(&user), short_hash(&session))
}

/// The first 80 bits of the hash at the end of a token.
fn short_hash(token: &KeyToken) -> String {
    let hash = token.as_str().rsplit('.').next().unwrap_or_default();
    hash.chars().take(COMPONENT_DIGITS).collect()
}

/// A tenant's component: up to 12 readable characters from the start of the tenant, a dot, and a hash. With the
/// readable characters, people can find the tenant in the bucket, for example to write a lifecycle rule for it.
fn tenant_component(token: &KeyToken) -> String {
    let readable = token.as_str().split('.').next().unwrap_or_default();
    format!("{readable}.{}", short_hash(token))
}

/// Splits the path of an artifact into its components; `None` if `path` does not have this form.
fn components(path: &str) -> Option<[&str; DEPTH]> {
    let (session, name) = path.rsplit_once('/')?;
    if !is_session_path(session) || !is_hash(name, NAME_DIGITS) {
        return None;
    }
    let mut parts = path.split('/');
    Some([parts.next()?, parts.next()?, parts.next()?, parts.next()?])
}

/// Whether `path` has the form that [`session_path`] writes.
fn is_session_path(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next().is_some_and(is_tenant_component)
        && parts.next().is_some_and(|user| is_hash(user, COMPONENT_DIGITS))
        && parts.next().is_some_and(|session| is_hash(session, COMPONENT_DIGITS))
        && parts.next().is_none()
}

/// Whether `component` has the form that [`tenant_component`] writes.
fn is_tenant_component(component: &str) -> bool {
    let Some((readable, hash)) = component.split_once('.') else { return false };
    (1..=12).contains(&readable.len())
        && readable.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && is_hash(hash, COMPONENT_DIGITS)
}

/// Whether `text` consists of this number of base32 digits.
fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{ArtifactId, Digest, Namespace, Scope, ScopePattern};
    use object_store::path::Path;

    use super::{Layout, random_hex};

    fn scope(tenant: &str, session: &str) -> Scope {
        Scope::new(tenant, "ada", session).unwrap()
    }

    fn id() -> ArtifactId {
        ArtifactId::new(&Namespace::default(), &Digest::of(b"hello"))
    }

    #[test]
    fn every_key_is_recognized_as_its_own_kind_alone() {
        let layout = Layout::new(Path::from("team/artifacts"));
        let (scope, random) = (scope("acme", "s-1"), random_hex().unwrap());
        let record = layout.record_key(&scope, &id());
        let data = layout.data_key(&scope, &random);
        let claim = layout.claims_on(&scope, &id()).join(random.as_str());
        let sweep_claim = layout.sweep_claims().join(random.as_str());
        let probe = layout.probe_key(&random);
        let kinds = |key: &Path| {
            [
                layout.is_record_key(key),
                layout.data_parts(key).is_some(),
                layout.is_claim_key(key),
                layout.is_probe_key(key),
            ]
        };
        assert_eq!(kinds(&record), [true, false, false, false]);
        assert_eq!(kinds(&data), [false, true, false, false]);
        assert_eq!(kinds(&claim), [false, false, true, false]);
        assert_eq!(kinds(&sweep_claim), [false, false, true, false]);
        assert_eq!(kinds(&probe), [false, false, false, true]);
        for foreign in [layout.format_key(), layout.sweep_key(), Path::from("a/b/c/d"), Path::from("other")] {
            assert_eq!(kinds(&foreign), [false; 4], "{foreign}");
        }
        assert!(record.as_ref().starts_with("team/artifacts/a/acme."), "{record}");
        assert!(claim.as_ref().len() < 512 - 256, "{claim}");
    }

    #[test]
    fn the_key_of_a_data_object_leads_to_the_records_of_its_session() {
        let layout = Layout::new(Path::default());
        let (scope, random) = (scope("acme", "s-1"), random_hex().unwrap());
        let (session, found) = layout.data_parts(&layout.data_key(&scope, &random)).unwrap();
        assert_eq!(found, random);
        assert!(layout.record_key(&scope, &id()).prefix_matches(&layout.session_records(&session)));
    }

    #[test]
    fn a_filter_selects_the_keys_that_its_pattern_covers() {
        let layout = Layout::new(Path::from("p"));
        let (one, other) = (scope("acme", "s-1"), scope("acme", "s-2"));
        let (one_key, other_key) = (layout.record_key(&one, &id()), layout.record_key(&other, &id()));
        let session = layout.key_filter(&ScopePattern::exactly(&one));
        assert!(layout.matches(&session, &one_key) && !layout.matches(&session, &other_key));
        assert!(one_key.prefix_matches(&session.prefix));
        let foreign = layout.record_key(&scope("acme2", "s-1"), &id());
        assert!(!layout.matches(&session, &foreign));
        assert!(!layout.matches(&session, &layout.data_key(&one, &random_hex().unwrap())));
    }
}
