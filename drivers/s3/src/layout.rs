//! Keys in the bucket: [`Layout`]. The components of a key contain hashes. Core computes a hash for each scope part, in
//! a key token, and this module truncates it. This module computes the hash that is an artifact's name.
//!
//! Keys are short, because some servers store each object as a file whose name contains the whole encoded key. The last
//! component of an artifact's key identifies the artifact: it is a hash of 160 bits over the whole scope and the id.
//! The components before it only narrow listings, so 80 bits are enough. If the components of two scopes are the same,
//! a listing only looks at more keys, because the listing also compares the scope in each record.
//!
//! [`FORMAT_VERSION`] identifies the layout: a changed layout needs another version. This module must never send a
//! request.

use artifact_store_core::{
    ArtifactId, Hasher, KeyToken, Record, Scope, ScopePart, ScopePattern, StoreError, TaskPattern,
    TenantPattern, Timestamp,
};
use data_encoding::{BASE32_NOPAD, HEXLOWER};

/// The format version of stores that this build creates. This build also reads and writes stores of version 1.
pub(crate) const FORMAT_VERSION: u64 = 2;
/// The number of components of an artifact's key: tenant, user, session, and the name.
pub(crate) const DEPTH: usize = 4;
/// The number of base32 digits of a component that narrows listings: 80 bits.
const COMPONENT_DIGITS: usize = 16;
/// The number of base32 digits of an artifact's name: 160 bits.
const NAME_DIGITS: usize = 32;
/// The first bytes that are hashed for an artifact's name. They separate the name from other hashes of the same tokens.
const NAME_DOMAIN: &[u8] = b"artifact-store s3 key v1\0";
/// The longest key that the protocol allows, in bytes.
const MAX_KEY_BYTES: usize = 1024;
/// The number of hex digits of a random name: 128 bits.
const RANDOM_DIGITS: usize = 32;
/// The number of hex digits of a time in an index key.
const TIME_DIGITS: usize = 16;
/// The number of base32 digits of a task in an index key. Two tasks may have the same digits, so a listing also
/// compares the task in the record.
const TASK_DIGITS: usize = 8;
/// The number of hex digits of a put's mark in an index key. Two puts of one artifact at the same time have different
/// marks, and so different index keys.
const MARK_DIGITS: usize = 8;

/// 128 random bits in hex: a name that is used once.
pub(crate) fn random_hex() -> Result<String, StoreError> {
    let mut bytes = [0; RANDOM_DIGITS / 2];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::backend("the system has no randomness").with_source(error))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// The keys of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Empty, or ends with a slash.
    prefix: String,
}

impl Layout {
    /// The layout below `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
        Self { prefix: format!("{prefix}{slash}") }
    }

    /// The prefix of every key.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of the object `FORMAT`. A prefix with this object is a store.
    pub(crate) fn format_key(&self) -> String {
        format!("{}FORMAT", self.prefix)
    }

    /// The key of an object that a probe writes. `random` makes the key unique.
    pub(crate) fn probe_key(&self, random: &str) -> String {
        format!("{}u/probe-{random}", self.prefix)
    }

    /// The key of the object that contains the encryption key with this `id`.
    pub(crate) fn encryption_key_object(&self, id: &str) -> String {
        format!("{}k/{id}", self.prefix)
    }

    /// The key of the object that exists while a sweep is running.
    pub(crate) fn sweep_key(&self) -> String {
        format!("{}SWEEP", self.prefix)
    }

    /// The prefix of artifacts.
    pub(crate) fn artifacts_prefix(&self) -> String {
        format!("{}a/", self.prefix)
    }

    /// The prefix of record objects.
    pub(crate) fn record_objects_prefix(&self) -> String {
        format!("{}o/", self.prefix)
    }

    /// The prefix of staged uploads. The ids of their artifacts are not known yet.
    pub(crate) fn staging_prefix(&self) -> String {
        format!("{}u/", self.prefix)
    }

    /// The prefix of presigned uploads.
    pub(crate) fn uploads_prefix(&self) -> String {
        format!("{}p/", self.prefix)
    }

    /// The key of an artifact's object.
    pub(crate) fn artifact_key(&self, scope: &Scope, id: &ArtifactId) -> String {
        format!("{}a/{}", self.prefix, artifact_path(scope, id))
    }

    /// The key of the record object of the artifact at `key`. `random` makes the key unique. The object exists only if
    /// the record does not fit into the metadata.
    pub(crate) fn record_object_key(&self, key: &str, random: &str) -> String {
        let path = key.strip_prefix(&self.artifacts_prefix()).unwrap_or(key);
        format!("{}o/{path}.{random}", self.prefix)
    }

    /// The key of a staged upload. The id of its artifact is not known yet, so `random` makes the key unique.
    pub(crate) fn staging_key(&self, random: &str) -> String {
        format!("{}u/{random}", self.prefix)
    }

    /// The key of the body of a presigned upload.
    pub(crate) fn upload_key(&self, scope: &Scope, id: &ArtifactId) -> String {
        format!("{}p/b/{}", self.prefix, artifact_path(scope, id))
    }

    /// The key of the intent of a presigned upload: a JSON object with the future artifact's scope, options, digest and
    /// size.
    pub(crate) fn upload_intent_key(&self, scope: &Scope, id: &ArtifactId) -> String {
        format!("{}p/n/{}", self.prefix, artifact_path(scope, id))
    }

    /// If `key` is the key of a record object, returns the key of its artifact and the record object's random name.
    /// Otherwise returns `None`.
    pub(crate) fn artifact_of_record_object(&self, key: &str) -> Option<(String, String)> {
        let (path, random) = key.strip_prefix(&self.record_objects_prefix())?.rsplit_once('.')?;
        let valid = components(path).is_some() && random.len() == RANDOM_DIGITS;
        valid.then(|| (format!("{}a/{path}", self.prefix), random.to_owned()))
    }

    /// The prefix of index keys.
    pub(crate) fn index_prefix(&self) -> String {
        format!("{}i/", self.prefix)
    }

    /// The key of the index entry for the artifact of `record`. `mark` is the random mark of the put that writes the
    /// entry.
    pub(crate) fn index_key(&self, record: &Record, mark: &str) -> String {
        let path = artifact_path(&record.scope, &record.id);
        let (session_path, name) = path.rsplit_once('/').unwrap_or_default();
        let task = task_digits(record.scope.task());
        let mark: String = mark.chars().take(MARK_DIGITS).collect();
        let time = descending_digits(record.created_at);
        format!("{}i/{session_path}/{time}.{task}.{name}.{mark}", self.prefix)
    }

    /// Parses an index key; `None` if `key` is not one.
    pub(crate) fn index_entry(&self, key: &str) -> Option<IndexEntry> {
        let path = key.strip_prefix(self.prefix.as_str())?.strip_prefix("i/")?;
        let (session_path, last_component) = path.rsplit_once('/')?;
        let mut fields = last_component.split('.');
        let (time, task, name, mark) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let artifact_path = format!("{session_path}/{name}");
        let is_valid = fields.next().is_none()
            && time.len() == TIME_DIGITS
            && is_hash(task, TASK_DIGITS)
            && mark.len() == MARK_DIGITS
            && mark.bytes().all(|b| b.is_ascii_hexdigit())
            && components(&artifact_path).is_some();
        if !is_valid {
            return None;
        }
        Some(IndexEntry {
            created_at: parse_descending(time)?,
            artifact_key: format!("{}a/{artifact_path}", self.prefix),
            task: task.to_owned(),
            mark: mark.to_owned(),
        })
    }

    /// The filter for index keys of artifacts that `pattern` covers.
    pub(crate) fn index_key_filter(&self, pattern: &ScopePattern) -> IndexKeyFilter {
        let artifacts = self.key_filter(pattern);
        // An index key has the artifact's components of tenant, user and session, but after `i/` instead of `a/`.
        let components = &artifacts.prefix[self.artifacts_prefix().len()..];
        let prefix = format!("{}i/{components}", self.prefix);
        let task = match &pattern.task {
            TaskPattern::Any => None,
            TaskPattern::NoTask => Some(task_digits(None)),
            TaskPattern::One(task) => Some(task_digits(Some(task))),
        };
        IndexKeyFilter { prefix, task, artifacts }
    }

    /// The key of a claim on the key `claimed`. A put claims its artifact's key, and a sweep claims
    /// [`Layout::sweep_key`]. `random` makes the claim's key unique.
    pub(crate) fn claim_key(claimed: &str, random: &str) -> String {
        format!("{claimed}.{random}")
    }

    /// If `key` is the key of a claim, returns the claimed key. Otherwise returns `None`.
    pub(crate) fn claimed_key<'a>(&self, key: &'a str) -> Option<&'a str> {
        let (claimed, random) = key.rsplit_once('.')?;
        if !is_random_hex(random) {
            return None;
        }
        let can_be_claimed = self.artifact_components(claimed).is_some() || claimed == self.sweep_key();
        can_be_claimed.then_some(claimed)
    }

    /// Whether `key` is the key of a staged upload or of a probe's object.
    pub(crate) fn is_staging_key(&self, key: &str) -> bool {
        key.strip_prefix(&self.staging_prefix()).is_some_and(|name| {
            // See `probe_key`.
            is_random_hex(name.strip_prefix("probe-").unwrap_or(name))
        })
    }

    /// Whether `key` is the key of the body or of the intent of a presigned upload.
    pub(crate) fn is_presigned_upload_key(&self, key: &str) -> bool {
        let Some(name) = key.strip_prefix(&self.uploads_prefix()) else { return false };
        let path = name.strip_prefix("b/").or_else(|| name.strip_prefix("n/"));
        path.is_some_and(|path| components(path).is_some())
    }

    /// Whether this store creates multipart uploads to `key`.
    pub(crate) fn is_multipart_key(&self, key: &str) -> bool {
        self.is_staging_key(key) || self.artifact_components(key).is_some()
    }

    /// The components of an artifact's key; `None` if `key` is not one.
    pub(crate) fn artifact_components<'a>(&self, key: &'a str) -> Option<[&'a str; DEPTH]> {
        components(key.strip_prefix(self.prefix.as_str())?.strip_prefix("a/")?)
    }

    /// The filter for keys of artifacts that `pattern` covers. The filter ignores the task, because no component of a
    /// key is for the task alone. So callers compare the task in the record.
    pub(crate) fn key_filter(&self, pattern: &ScopePattern) -> KeyFilter {
        let components = [
            match &pattern.tenant {
                TenantPattern::One(tenant) => Some(tenant_component(&KeyToken::of_tenant(tenant))),
                TenantPattern::AllTenants => None,
            },
            pattern.user.as_ref().map(|user| short_hash(&KeyToken::of_user(user))),
            pattern.session.as_ref().map(|session| short_hash(&KeyToken::of_session(session))),
        ];
        let mut prefix = self.artifacts_prefix();
        // The prefix ends before the first component that the pattern leaves open.
        for component in components.iter().map_while(Option::as_ref) {
            prefix.push_str(component);
            prefix.push('/');
        }
        KeyFilter { prefix, components }
    }
}

/// Selects the artifact keys that a listing looks at.
#[derive(Debug)]
pub(crate) struct KeyFilter {
    /// The prefix of all selected keys.
    pub(crate) prefix: String,
    /// The components that a key must have; `None` matches every component.
    components: [Option<String>; DEPTH - 1],
}

impl KeyFilter {
    /// Whether a key with these components may belong to a record that the query covers.
    pub(crate) fn matches(&self, components: &[&str; DEPTH]) -> bool {
        self.components
            .iter()
            .zip(components)
            .all(|(expected, component)| expected.as_ref().is_none_or(|expected| expected == component))
    }
}

/// A parsed index key, which leads to an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) created_at: Timestamp,
    pub(crate) artifact_key: String,
    /// The first digits of the hash of the artifact's task.
    task: String,
    /// The first digits of the mark of the put that wrote the index key.
    mark: String,
}

impl IndexEntry {
    /// Whether the put with the mark `put_mark` wrote the index key. `false` if `put_mark` is `None`.
    pub(crate) fn is_from_put(&self, put_mark: Option<&str>) -> bool {
        put_mark.is_some_and(|mark| mark.starts_with(&self.mark))
    }
}

/// Selects the index keys that a listing looks at.
#[derive(Debug)]
pub(crate) struct IndexKeyFilter {
    /// The prefix of all selected index keys.
    pub(crate) prefix: String,
    /// The [`task_digits`] that an index key must have; `None` matches every task.
    task: Option<String>,
    /// The filter for the keys of the artifacts.
    pub(crate) artifacts: KeyFilter,
}

impl IndexKeyFilter {
    /// Returns `false` if the artifact of this entry cannot match the query. After `true`, the caller must still
    /// compare the record, because two tasks or scopes may have the same hash.
    pub(crate) fn matches(&self, layout: &Layout, entry: &IndexEntry) -> bool {
        self.task.as_ref().is_none_or(|task| *task == entry.task)
            && layout
                .artifact_components(&entry.artifact_key)
                .is_some_and(|components| self.artifacts.matches(&components))
    }

    /// A key that sorts before all keys of `time` and of earlier times, and after the keys of later times. `None` if
    /// the prefix does not name one session, because then the keys are not in the order of time.
    pub(crate) fn start_after(&self, layout: &Layout, time: Timestamp) -> Option<String> {
        self.is_ordered(layout).then(|| format!("{}{}", self.prefix, descending_digits(time)))
    }

    /// Whether the index keys have the same order as a listing. This is the case if the prefix names one session.
    pub(crate) fn is_ordered(&self, layout: &Layout) -> bool {
        // Each of the components tenant, user and session ends with a slash.
        self.prefix[layout.index_prefix().len()..].matches('/').count() == DEPTH - 1
    }

    /// Whether the query covers only one task, or only artifacts without a task.
    pub(crate) fn filters_task(&self) -> bool {
        self.task.is_some()
    }
}

/// A time as 16 hex digits. The digits of a newer time sort before the digits of an older time.
fn descending_digits(time: Timestamp) -> String {
    // With the sign bit flipped, the order as unsigned numbers is the order of time. The subtraction reverses it.
    let shifted = time.as_micros().cast_unsigned() ^ (1 << 63);
    format!("{:016x}", u64::MAX - shifted)
}

/// Parses what [`descending_digits`] wrote; `None` if `digits` is not a hexadecimal number.
fn parse_descending(digits: &str) -> Option<Timestamp> {
    let reversed = u64::from_str_radix(digits, 16).ok()?;
    Some(Timestamp::from_micros(((u64::MAX - reversed) ^ (1 << 63)).cast_signed()))
}

/// Fails with `InvalidArgument` if `key` is longer than the protocol allows. A shorter prefix makes the key shorter.
pub(crate) fn check_key_length(key: &str) -> Result<(), StoreError> {
    if key.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    Err(StoreError::invalid(format!(
        "a key of more than {MAX_KEY_BYTES} bytes would be needed; shorten the prefix"
    )))
}

/// The components of the artifact's key, joined by slashes: tenant, user, session and name.
fn artifact_path(scope: &Scope, id: &ArtifactId) -> String {
    let [tenant, user, session, task] = KeyToken::of_scope(scope);
    let mut hasher = Hasher::new();
    hasher.update(NAME_DOMAIN);
    for token in [&tenant, &user, &session, &task, &KeyToken::of_id(id)] {
        // No token contains a slash, so the slash separates the tokens.
        hasher.update(token.as_str().as_bytes());
        hasher.update(b"/");
    }
    let mut name = BASE32_NOPAD.encode(hasher.finish().as_bytes()).to_ascii_lowercase();
    name.truncate(NAME_DIGITS);
    format!("{}/{}/{}/{name}", tenant_component(&tenant), short_hash(&user), short_hash(&session))
}

/// The first 80 bits of the hash at the end of a token.
fn short_hash(token: &KeyToken) -> String {
    let hash = token.as_str().rsplit('.').next().unwrap_or_default();
    hash.chars().take(COMPONENT_DIGITS).collect()
}

/// The first 40 bits of the hash in the token of `task`, for index keys. `None` is an artifact without a task.
fn task_digits(task: Option<&ScopePart>) -> String {
    short_hash(&KeyToken::of_task(task)).chars().take(TASK_DIGITS).collect()
}

/// A tenant's component: up to 12 readable characters from the start of the tenant, a dot, and a hash. With the
/// readable characters, people can find the tenant in the bucket, for example to write a lifecycle rule for it.
fn tenant_component(token: &KeyToken) -> String {
    let readable = token.as_str().split('.').next().unwrap_or_default();
    format!("{readable}.{}", short_hash(token))
}

/// Splits the path of an artifact's key into its components; `None` if `path` does not have this form.
fn components(path: &str) -> Option<[&str; DEPTH]> {
    let mut parts = path.split('/');
    let (tenant, user, session, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_valid = parts.next().is_none()
        && is_tenant_component(tenant)
        && is_hash(user, COMPONENT_DIGITS)
        && is_hash(session, COMPONENT_DIGITS)
        && is_hash(name, NAME_DIGITS);
    is_valid.then_some([tenant, user, session, name])
}

/// Whether `component` has the form that [`tenant_component`] writes.
fn is_tenant_component(component: &str) -> bool {
    let Some((readable, hash)) = component.split_once('.') else { return false };
    (1..=12).contains(&readable.len())
        && readable.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && is_hash(hash, COMPONENT_DIGITS)
}

/// Whether `text` has the form that [`random_hex`] returns.
fn is_random_hex(text: &str) -> bool {
    text.len() == RANDOM_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether `text` consists of this number of base32 digits.
fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{
        ArtifactId, Digest, Namespace, PutOptions, Record, Scope, ScopePart, ScopePattern, Timestamp,
    };

    use super::{Layout, RANDOM_DIGITS, check_key_length};

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
    fn the_key_of_a_record_object_leads_to_its_artifact() {
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        let (layout, random) = (Layout::new("team"), "0123456789abcdef0123456789abcdef");
        let record_object = layout.record_object_key(&layout.artifact_key(&scope, &id()), random);
        assert_eq!(
            layout.artifact_of_record_object(&record_object),
            Some((layout.artifact_key(&scope, &id()), random.to_owned()))
        );
        assert_eq!(layout.artifact_of_record_object("team/o/else"), None);
    }

    #[test]
    fn a_pattern_matches_its_keys_and_no_others() {
        let layout = Layout::new("");
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        let other = Scope::new("acme", "bob", "s-1").unwrap();
        let (key, foreign) = (layout.artifact_key(&scope, &id()), layout.artifact_key(&other, &id()));
        let session = layout.key_filter(&ScopePattern::session_of(&scope));
        assert!(key.starts_with(&session.prefix) && !foreign.starts_with(&session.prefix));
        // The pattern covers one user in all tenants. No prefix selects these keys, so the components are compared.
        let users = layout.key_filter(&ScopePattern::all_tenants().user(ScopePart::new("ada").unwrap()));
        assert_eq!(users.prefix, "a/");
        assert!(users.matches(&layout.artifact_components(&key).unwrap()));
        assert!(!users.matches(&layout.artifact_components(&foreign).unwrap()));
        assert_eq!(layout.artifact_components("a/else"), None);
    }

    #[test]
    fn keys_of_another_store_below_the_prefix_are_not_of_this_store() {
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        let random = "0123456789abcdef".repeat(2);
        let multipart = |layout: &Layout| {
            [layout.artifact_key(&scope, &id()), layout.staging_key(&random), layout.probe_key(&random)]
        };
        let presigned =
            |layout: &Layout| [layout.upload_key(&scope, &id()), layout.upload_intent_key(&scope, &id())];
        for own in ["", "team/"] {
            let layout = Layout::new(own);
            assert!(multipart(&layout).iter().all(|key| layout.is_multipart_key(key)));
            assert!(multipart(&layout)[1..].iter().all(|key| layout.is_staging_key(key)));
            assert!(presigned(&layout).iter().all(|key| layout.is_presigned_upload_key(key)));
            for nested in ["x", "a", "u", "p", "p/b"] {
                let nested = Layout::new(&format!("{own}{nested}"));
                let mut keys = [&multipart(&nested)[..], &presigned(&nested)].concat();
                keys.extend([nested.format_key(), nested.encryption_key_object("0123456789abcdef")]);
                for key in keys {
                    assert!(
                        !layout.is_multipart_key(&key)
                            && !layout.is_staging_key(&key)
                            && !layout.is_presigned_upload_key(&key),
                        "{key}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_longest_prefix_leaves_room_for_the_longest_key() {
        let part = "w".repeat(artifact_store_core::MAX_SCOPE_PART_BYTES);
        let scope = Scope::new(&part, &part, &part).unwrap().with_task(&part).unwrap();
        // `validation` accepts a prefix of at most 256 bytes.
        let layout = Layout::new(&"x".repeat(256));
        let random = "0".repeat(RANDOM_DIGITS);
        let record_object = layout.record_object_key(&layout.artifact_key(&scope, &id()), &random);
        assert!(check_key_length(&record_object).is_ok());
    }

    #[test]
    fn index_keys_sort_newest_first_and_lead_to_their_artifact() {
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        let layout = Layout::new("team");
        let record = |micros: i64| {
            Record::new(
                scope.clone(),
                PutOptions::default(),
                Digest::of(b"hello"),
                5,
                Timestamp::from_micros(micros),
            )
        };
        let times = [i64::MIN, -1, 0, 1, 1_767_323_045_000_006, i64::MAX];
        let keys = times.map(|micros| layout.index_key(&record(micros), "0123456789abcdef"));
        // The times ascend, so the keys must descend.
        assert!(keys.is_sorted_by(|a, b| a > b), "{keys:?}");
        let key_filter = layout.index_key_filter(&ScopePattern::exactly(&scope));
        for (key, micros) in keys.iter().zip(times) {
            let entry = layout.index_entry(key).unwrap();
            assert_eq!(entry.created_at, Timestamp::from_micros(micros));
            assert_eq!(entry.artifact_key, layout.artifact_key(&scope, &id()));
            assert!(key_filter.matches(&layout, &entry) && key.starts_with(&key_filter.prefix));
            assert!(
                entry.is_from_put(Some("0123456789abcdef"))
                    && !entry.is_from_put(Some("ff"))
                    && !entry.is_from_put(None)
            );
            assert!(*key > key_filter.start_after(&layout, entry.created_at).unwrap());
        }
        let with_task = scope.with_task("t").unwrap();
        let entry = layout.index_entry(&keys[0]).unwrap();
        assert!(!layout.index_key_filter(&ScopePattern::exactly(&with_task)).matches(&layout, &entry));
        assert!(layout.index_key_filter(&ScopePattern::session_of(&with_task)).matches(&layout, &entry));
        assert!(!layout.index_key_filter(&ScopePattern::all_tenants()).is_ordered(&layout));
    }

    #[test]
    fn every_part_of_the_scope_and_the_id_change_the_name() {
        let base = Scope::new("acme", "ada", "s-1").unwrap();
        let scopes = [
            base.clone(),
            Scope::new("acme2", "ada", "s-1").unwrap(),
            Scope::new("acme", "ada2", "s-1").unwrap(),
            Scope::new("acme", "ada", "s-2").unwrap(),
            // A task called `none` is not the same as no task.
            base.clone().with_task("none").unwrap(),
            base.with_task("t").unwrap(),
        ];
        let other = ArtifactId::new(&Namespace::default(), &Digest::of(b"other"));
        let name = |scope: &Scope, id: &ArtifactId| {
            Layout::new("").artifact_key(scope, id).rsplit('/').next().unwrap().to_owned()
        };
        let names: std::collections::BTreeSet<String> =
            scopes.iter().flat_map(|scope| [name(scope, &id()), name(scope, &other)]).collect();
        // Each scope has one name for each of the two ids.
        assert_eq!(names.len(), 2 * scopes.len());
    }
}
