//! Keys in the bucket: [`Layout`]. The hashes are those of core's tokens; this module cuts and joins them.
//!
//! Keys are kept short, because stores that keep objects as files put a key into one file name, encoded and with endings of
//! their own. What makes a key one artifact's is its last component, which hashes the whole scope and the id with 160 bits. The
//! components before it only narrow listings, so 80 bits do: who made two of them meet would make a listing look at more keys,
//! and the clear scope of each record is compared in any case.
//!
//! The form is fixed by [`FORMAT_VERSION`]; another form needs another version. This module must never send a request.

use artifact_store_core::{ArtifactId, Hasher, KeyToken, Scope, ScopePattern, StoreError, TenantPattern};
use data_encoding::{BASE32_NOPAD, HEXLOWER};

/// The version that this build reads and writes.
pub(crate) const FORMAT_VERSION: u64 = 1;
/// Components of an artifact's key: tenant, user, session, and the hash of everything.
pub(crate) const DEPTH: usize = 4;
/// Digits of base32 that narrow a listing: 80 bits.
const NARROW_DIGITS: usize = 16;
/// Digits of base32 that name an artifact: 160 bits.
const NAME_DIGITS: usize = 32;
const NAME_DOMAIN: &[u8] = b"artifact-store s3 key v1\0";
/// The longest key; the protocol's own bound.
const MAX_KEY_BYTES: usize = 1024;
const RANDOM_DIGITS: usize = 32;

/// 128 random bits in hex: a name that is used once.
pub(crate) fn random() -> Result<String, StoreError> {
    let mut bytes = [0; RANDOM_DIGITS / 2];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::backend("the system has no randomness").with_source(error))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// Where things are in the bucket.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Empty, or ending in a slash.
    prefix: String,
}

impl Layout {
    /// The layout below `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
        Self { prefix: format!("{prefix}{slash}") }
    }

    /// What every key starts with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The marker that makes a prefix a store.
    pub(crate) fn format_key(&self) -> String {
        format!("{}FORMAT", self.prefix)
    }

    /// A key to ask the store on what it can do.
    pub(crate) fn probe_key(&self, random: &str) -> String {
        format!("{}u/probe-{random}", self.prefix)
    }

    /// What the keys of artifacts start with.
    pub(crate) fn artifacts(&self) -> String {
        format!("{}a/", self.prefix)
    }

    /// What the keys of long records start with.
    pub(crate) fn sides(&self) -> String {
        format!("{}o/", self.prefix)
    }

    /// What the keys of bodies start with whose artifact is not known yet.
    pub(crate) fn staging(&self) -> String {
        format!("{}u/", self.prefix)
    }

    /// What the keys of presigned uploads start with.
    pub(crate) fn uploads(&self) -> String {
        format!("{}p/", self.prefix)
    }

    /// An artifact's object.
    pub(crate) fn artifact_key(&self, scope: &Scope, id: &ArtifactId) -> String {
        format!("{}a/{}", self.prefix, path(scope, id))
    }

    /// The record of the artifact at `key`, where the metadata do not hold it.
    pub(crate) fn side_of(&self, key: &str, random: &str) -> String {
        let path = key.strip_prefix(&self.artifacts()).unwrap_or(key);
        format!("{}o/{path}.{random}", self.prefix)
    }

    /// A body on its way in whose artifact is not known yet.
    pub(crate) fn staging_key(&self, random: &str) -> String {
        format!("{}u/{random}", self.prefix)
    }

    /// Where a presigned upload of an artifact goes to.
    pub(crate) fn upload_key(&self, scope: &Scope, id: &ArtifactId) -> String {
        format!("{}p/b/{}", self.prefix, path(scope, id))
    }

    /// Where the announcement of a presigned upload is.
    pub(crate) fn announcement_key(&self, scope: &Scope, id: &ArtifactId) -> String {
        format!("{}p/n/{}", self.prefix, path(scope, id))
    }

    /// The artifact's key that the long record at `key` belongs to, and its random name.
    pub(crate) fn artifact_of_side(&self, key: &str) -> Option<(String, String)> {
        let (path, random) = key.strip_prefix(&self.sides())?.rsplit_once('.')?;
        let legal = components(path).is_some() && random.len() == RANDOM_DIGITS;
        legal.then(|| (format!("{}a/{path}", self.prefix), random.to_owned()))
    }

    /// The components of an artifact's key; `None` for a key that is none.
    pub(crate) fn artifact_components<'a>(&self, key: &'a str) -> Option<[&'a str; DEPTH]> {
        components(key.strip_prefix(self.prefix.as_str())?.strip_prefix("a/")?)
    }

    /// What the keys that `pattern` covers start with. A task has no component: its records say it.
    pub(crate) fn covered(&self, pattern: &ScopePattern) -> Covered {
        let only = [
            match &pattern.tenant {
                TenantPattern::One(tenant) => Some(tenant_component(&KeyToken::of_tenant(tenant))),
                TenantPattern::AllTenants => None,
            },
            pattern.user.as_ref().map(|user| narrow(&KeyToken::of_user(user))),
            pattern.session.as_ref().map(|session| narrow(&KeyToken::of_session(session))),
        ];
        let mut prefix = self.artifacts();
        for component in only.iter().map_while(Option::as_ref) {
            prefix.push_str(component);
            prefix.push('/');
        }
        Covered { prefix, only }
    }
}

/// The keys that a listing looks at.
#[derive(Debug)]
pub(crate) struct Covered {
    /// What all of them start with.
    pub(crate) prefix: String,
    only: [Option<String>; DEPTH - 1],
}

impl Covered {
    /// Whether a key of these components may be of a record that is asked for.
    pub(crate) fn takes(&self, components: &[&str; DEPTH]) -> bool {
        self.only
            .iter()
            .zip(components)
            .all(|(only, component)| only.as_ref().is_none_or(|only| only == component))
    }
}

/// Refuses a key that no store takes: a prefix too long for what stands behind it.
pub(crate) fn check_length(key: &str) -> Result<(), StoreError> {
    if key.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    Err(StoreError::invalid(format!(
        "a key of more than {MAX_KEY_BYTES} bytes would be needed; shorten the prefix"
    )))
}

/// The four components with slashes between.
fn path(scope: &Scope, id: &ArtifactId) -> String {
    let [tenant, user, session, task] = KeyToken::of_scope(scope);
    let mut hasher = Hasher::new();
    hasher.update(NAME_DOMAIN);
    for token in [&tenant, &user, &session, &task, &KeyToken::of_id(id)] {
        // No token holds a slash.
        hasher.update(token.as_str().as_bytes());
        hasher.update(b"/");
    }
    let mut name = BASE32_NOPAD.encode(hasher.finish().as_bytes()).to_ascii_lowercase();
    name.truncate(NAME_DIGITS);
    format!("{}/{}/{}/{name}", tenant_component(&tenant), narrow(&user), narrow(&session))
}

/// The hash of a token, cut.
fn narrow(token: &KeyToken) -> String {
    let hash = token.as_str().rsplit('.').next().unwrap_or_default();
    hash.chars().take(NARROW_DIGITS).collect()
}

/// A tenant's component keeps the readable stub, for those who look into a bucket or set rules by tenant.
fn tenant_component(token: &KeyToken) -> String {
    let stub = token.as_str().split('.').next().unwrap_or_default();
    format!("{stub}.{}", narrow(token))
}

fn components(path: &str) -> Option<[&str; DEPTH]> {
    let mut parts = path.split('/');
    let mut next = |legal: &dyn Fn(&str) -> bool| parts.next().filter(|part| legal(part));
    let narrow = |part: &str| is_hash(part, NARROW_DIGITS);
    let components =
        [next(&is_tenant)?, next(&narrow)?, next(&narrow)?, next(&|part| is_hash(part, NAME_DIGITS))?];
    parts.next().is_none().then_some(components)
}

/// Whether `name` has the form of a tenant's component. Other names are not the store's.
fn is_tenant(name: &str) -> bool {
    name.split_once('.').is_some_and(|(stub, hash)| {
        (1..=12).contains(&stub.len())
            && stub.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && is_hash(hash, NARROW_DIGITS)
    })
}

fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{ArtifactId, Digest, Namespace, Scope, ScopePart, ScopePattern};

    use super::{Layout, check_length};

    fn id() -> ArtifactId {
        ArtifactId::new(&Namespace::default(), &Digest::of(b"hello"))
    }

    #[test]
    fn the_keys_of_version_1_stay_as_they_are() {
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        let key = Layout::new("team").artifact_key(&scope, &id());
        assert_eq!(
            key,
            "team/a/acme.jzjwpvcwcr5u7nwf/6n3qu5p5mholth6p/p6eeorvmgtxqzxnz/gif73oca362u6grpev3y6edyohizu5n7"
        );
        assert_eq!(Layout::new("team/").artifact_key(&scope, &id()), key);
        assert_eq!(Layout::new("").format_key(), "FORMAT");
        assert_eq!(Layout::new("").staging_key("x"), "u/x");
    }

    #[test]
    fn a_long_records_key_leads_back_to_its_artifact() {
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        let (layout, random) = (Layout::new("team"), "0123456789abcdef0123456789abcdef");
        let side = layout.side_of(&layout.artifact_key(&scope, &id()), random);
        assert_eq!(
            layout.artifact_of_side(&side),
            Some((layout.artifact_key(&scope, &id()), random.to_owned()))
        );
        assert_eq!(layout.artifact_of_side("team/o/else"), None);
    }

    #[test]
    fn a_pattern_covers_its_keys_and_no_others() {
        let layout = Layout::new("");
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        let other = Scope::new("acme", "bob", "s-1").unwrap();
        let (key, foreign) = (layout.artifact_key(&scope, &id()), layout.artifact_key(&other, &id()));
        let narrow = layout.covered(&ScopePattern::session_of(&scope));
        assert!(key.starts_with(&narrow.prefix) && !foreign.starts_with(&narrow.prefix));
        // A user of any tenant: the prefix cannot say it, the tokens do.
        let users = layout.covered(&ScopePattern::all_tenants().user(ScopePart::new("ada").unwrap()));
        assert_eq!(users.prefix, "a/");
        assert!(users.takes(&layout.artifact_components(&key).unwrap()));
        assert!(!users.takes(&layout.artifact_components(&foreign).unwrap()));
        assert_eq!(layout.artifact_components("a/else"), None);
    }

    #[test]
    fn the_longest_prefix_leaves_room_for_the_longest_key() {
        let part = "w".repeat(artifact_store_core::MAX_SCOPE_PART_BYTES);
        let scope = Scope::new(&part, &part, &part).unwrap().with_task(&part).unwrap();
        let layout = Layout::new(&"x".repeat(256));
        let side = layout.side_of(&layout.artifact_key(&scope, &id()), &"0".repeat(32));
        assert!(check_length(&side).is_ok());
    }

    #[test]
    fn every_part_of_the_scope_and_the_id_change_the_name() {
        let base = Scope::new("acme", "ada", "s-1").unwrap();
        let scopes = [
            base.clone(),
            Scope::new("acme2", "ada", "s-1").unwrap(),
            Scope::new("acme", "ada2", "s-1").unwrap(),
            Scope::new("acme", "ada", "s-2").unwrap(),
            base.clone().with_task("none").unwrap(),
            base.with_task("t").unwrap(),
        ];
        let other = ArtifactId::new(&Namespace::default(), &Digest::of(b"other"));
        let name = |scope: &Scope, id: &ArtifactId| {
            Layout::new("").artifact_key(scope, id).rsplit('/').next().unwrap().to_owned()
        };
        let names: std::collections::BTreeSet<String> =
            scopes.iter().flat_map(|scope| [name(scope, &id()), name(scope, &other)]).collect();
        assert_eq!(names.len(), 2 * scopes.len());
    }
}
