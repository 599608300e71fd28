//! Directories: they are opened relative to the handle of a parent directory, without following symbolic links.
//!
//! So the driver never opens a file outside the root, even if the root contains symbolic links. A read opens its path
//! anew on each call. Puts use a cache of at most `MAX_CACHED` open directories. This module must never know what a
//! file contains.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use crate::config::SyncPolicy;
use crate::layout::{ArtifactKey, DEPTH};
use crate::read::ReadMode;

/// Mode of a directory: access for its owner only.
pub(crate) const DIR_MODE: Mode = Mode::RWXU;
/// Mode of a file: access for its owner only.
pub(crate) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `NONBLOCK` has no effect on a regular file. If someone replaced a file by a named pipe, an open with `NONBLOCK` does
/// not wait for a writer of the pipe.
const READ_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Maximum number of cached directory handles.
const MAX_CACHED: usize = 256;

/// The number of files that this process may have open, or `None` if this number is unlimited.
pub(crate) fn open_files_limit() -> Option<usize> {
    getrlimit(Resource::Nofile).current.map(|files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Opens the directory `name` in `parent`.
pub(crate) fn open_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(&parent, name, DIR_FLAGS, Mode::empty()))
}

/// Opens the file `name` in `parent` for reading. The caller must check that it is a regular file.
pub(crate) fn open_file(parent: impl AsFd, name: &str) -> Result<File, Errno> {
    retry_on_intr(|| rustix::fs::openat(&parent, name, READ_FLAGS, Mode::empty())).map(File::from)
}

/// Opens the directory `name` in `parent` and creates it if it does not exist.
pub(crate) fn open_or_create_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    match open_dir(&parent, name) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(&parent, name, DIR_MODE) {
        Ok(()) => {
            let created = open_dir(&parent, name)?;
            inherit_owner(&created, parent)?;
            Ok(created)
        }
        // Another put or process has created the directory meanwhile.
        Err(Errno::EXIST) => open_dir(parent, name),
        Err(error) => Err(error),
    }
}

/// Gives `created` the owner and group of `parent` if this process runs as the superuser.
///
/// An operator may run a command on the store as the superuser. Without this step, the user who owns the store could
/// not open the files and directories that this command created.
pub(crate) fn inherit_owner(created: impl AsFd, parent: impl AsFd) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (created_stat, parent_stat) = (rustix::fs::fstat(&created)?, rustix::fs::fstat(parent)?);
    if (created_stat.st_uid, created_stat.st_gid) == (parent_stat.st_uid, parent_stat.st_gid) {
        return Ok(());
    }
    let user = rustix::fs::Uid::from_raw(parent_stat.st_uid);
    let group = rustix::fs::Gid::from_raw(parent_stat.st_gid);
    rustix::fs::fchown(created, Some(user), Some(group))
}

/// Syncs the entries of `dir` to the disk.
pub(crate) fn sync_dir(dir: impl AsFd) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::fsync(&dir))
}

/// The names in `dir`, without `.` and `..`, in the order of the file system.
///
/// In a name that is not UTF-8, invalid bytes are replaced by U+FFFD. The store itself creates no such name.
pub(crate) fn entry_names(dir: impl AsFd) -> Result<impl Iterator<Item = Result<String, Errno>>, Errno> {
    let entries = rustix::fs::Dir::read_from(dir)?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    // The filter keeps errors, so that the caller gets them.
    Ok(names.filter(|name| !matches!(name.as_deref(), Ok("." | ".."))))
}

/// The first `depth` components of `leaf_path`, which is the path of a leaf directory: tenant, user, session, task.
/// `depth` is 1 to [`DEPTH`].
fn path_prefix(leaf_path: &str, depth: usize) -> &str {
    // The prefix ends before slash number `depth`, counted from 1. If there is no such slash, the prefix is the whole
    // path.
    leaf_path.match_indices('/').nth(depth - 1).map_or(leaf_path, |(end, _)| &leaf_path[..end])
}

/// The tree of scope directories.
#[derive(Debug)]
pub(crate) struct ScopeDirs {
    /// The directory that contains the tenants' directories.
    artifacts: OwnedFd,
    sync: SyncPolicy,
    cache: Mutex<DirCache>,
}

/// A cache of open directories by path. The least recently used directory is evicted first.
///
/// Under [`SyncPolicy::Always`] all parents of a cached directory were synced after this directory was created. So a
/// put into a cached directory does not sync the parents again. As long as a directory exists, its parents exist too,
/// because a directory with entries cannot be removed. Publishing into a removed directory fails. Then the put evicts
/// this directory and its parents from the cache, and creates and syncs them again.
#[derive(Debug)]
struct DirCache {
    /// The cached directories by path.
    dirs: HashMap<String, CachedDir>,
    /// The number of uses of the cache so far.
    uses: u64,
    /// The maximum number of directories in the cache.
    capacity: usize,
}

#[derive(Debug)]
struct CachedDir {
    handle: Arc<OwnedFd>,
    /// The value of [`DirCache::uses`] when the directory was last used.
    last_use: u64,
}

impl DirCache {
    /// Returns the directory at `path` and marks it as the last used one. Returns `None` if the cache has
    /// no such directory.
    fn get(&mut self, path: &str) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        let cached = self.dirs.get_mut(path)?;
        cached.last_use = self.uses;
        Some(Arc::clone(&cached.handle))
    }

    /// Adds the directory at `path`. If the cache is full, evicts the least recently used directory first.
    fn insert(&mut self, path: &str, dir: Arc<OwnedFd>) {
        self.uses += 1;
        if self.dirs.len() >= self.capacity {
            self.evict_least_recently_used();
        }
        self.dirs.insert(path.to_owned(), CachedDir { handle: dir, last_use: self.uses });
    }

    fn evict_least_recently_used(&mut self) {
        let oldest = self.dirs.iter().min_by_key(|(_, cached)| cached.last_use);
        let oldest_path = oldest.map(|(path, _)| path.clone());
        if let Some(path) = oldest_path {
            self.dirs.remove(&path);
        }
    }
}

impl ScopeDirs {
    /// The tree below `artifacts`.
    pub(crate) fn new(artifacts: OwnedFd, sync: SyncPolicy) -> Self {
        // The cache takes at most one eighth of the files that this process may open.
        let capacity = open_files_limit().map_or(MAX_CACHED, |files| (files / 8).clamp(1, MAX_CACHED));
        Self { artifacts, sync, cache: Mutex::new(DirCache { dirs: HashMap::new(), uses: 0, capacity }) }
    }

    /// The handle of the directory that contains all scope directories.
    pub(crate) fn artifacts_dir(&self) -> &OwnedFd {
        &self.artifacts
    }

    /// Opens the file of the artifact `key`. Returns `None` if the file does not exist.
    ///
    /// # Errors
    /// `AGAIN` if `mode` is [`ReadMode::Cached`] and the path is not in memory; all other errors of the file system.
    pub(crate) fn open_artifact(&self, key: &ArtifactKey, mode: ReadMode) -> Result<Option<File>, Errno> {
        let opened = match mode {
            ReadMode::Blocking => self.open_by_path(key),
            ReadMode::Cached => self.open_cached(key),
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the file with one system call, `openat2`. The kernel then refuses a symbolic link anywhere in the path.
    #[cfg(target_os = "linux")]
    fn open_by_path(&self, key: &ArtifactKey) -> Result<File, Errno> {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
        let path = key.file_path();
        match retry_on_intr(|| {
            rustix::fs::openat2(&self.artifacts, path.as_str(), READ_FLAGS, Mode::empty(), resolve)
        }) {
            // The kernel may not have `openat2`, a sandbox may block it, or a concurrent rename may interrupt it. Then
            // the file is opened one component at a time. If the error has another cause, `open_by_walk` fails too.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => self.open_by_walk(key),
            opened => opened.map(File::from),
        }
    }

    /// Opens the file if the whole path is in the memory of the operating system. Does not enter another mount, because
    /// its file system may be one that [`can_read_cached`](Self::can_read_cached) excludes.
    #[cfg(target_os = "linux")]
    fn open_cached(&self, key: &ArtifactKey) -> Result<File, Errno> {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::CACHED
            .union(ResolveFlags::BENEATH)
            .union(ResolveFlags::NO_SYMLINKS)
            .union(ResolveFlags::NO_XDEV);
        let path = key.file_path();
        rustix::fs::openat2(&self.artifacts, path.as_str(), READ_FLAGS, Mode::empty(), resolve)
            .map(File::from)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_cached(&self, _: &ArtifactKey) -> Result<File, Errno> {
        Err(Errno::AGAIN)
    }

    /// Whether the file system opens a file and reads its length without I/O if the path is in memory. This is known of
    /// some local file systems. A network file system may ask its server.
    #[cfg(target_os = "linux")]
    pub(crate) fn can_read_cached(&self) -> bool {
        /// ext4, XFS and Btrfs, as in statfs(2). tmpfs does not support a read that fails instead of waiting.
        const FILE_SYSTEMS: [u32; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
        // The magic number has 32 bits. On some kernels the type of the field is wider or signed.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        rustix::fs::fstatfs(&self.artifacts).is_ok_and(|stat| FILE_SYSTEMS.contains(&(stat.f_type as u32)))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn can_read_cached(&self) -> bool {
        false
    }

    #[cfg(not(target_os = "linux"))]
    fn open_by_path(&self, key: &ArtifactKey) -> Result<File, Errno> {
        self.open_by_walk(key)
    }

    /// Opens the file one component of its path at a time.
    fn open_by_walk(&self, key: &ArtifactKey) -> Result<File, Errno> {
        let mut dir = open_dir(&self.artifacts, key.dirs[0].as_str())?;
        for token in &key.dirs[1..] {
            dir = open_dir(&dir, token.as_str())?;
        }
        open_file(&dir, key.file.as_str())
    }

    /// Opens the leaf directory of `key`. Creates the leaf and its parents if they do not exist.
    ///
    /// Under [`SyncPolicy::Always`] the directories above the leaf are synced, so that the whole path survives a power
    /// failure. The directories above a cached directory are not synced again: an earlier call has synced them.
    ///
    /// # Errors
    /// `NOENT` if a delete or a sweep removed one of the directories at the same time: the caller should try again. All
    /// other errors of the file system.
    pub(crate) fn open_or_create_leaf(&self, key: &ArtifactKey) -> Result<Arc<OwnedFd>, Errno> {
        self.open_leaf_by(key, |parent, name| open_or_create_dir(parent, name))
    }

    /// Like [`open_or_create_leaf`](Self::open_or_create_leaf), but fails with `NOENT` if a directory does not exist.
    fn open_leaf(&self, key: &ArtifactKey) -> Result<Arc<OwnedFd>, Errno> {
        self.open_leaf_by(key, |parent, name| open_dir(parent, name))
    }

    /// Opens the leaf directory of `key`, beginning at the deepest directory of the path that is in the cache.
    ///
    /// For each directory below the cached directory, calls `open` with the handle of its parent and its name. Under
    /// [`SyncPolicy::Always`], syncs the parents of these directories. Adds these directories to the cache.
    fn open_leaf_by(
        &self,
        key: &ArtifactKey,
        open: impl Fn(&OwnedFd, &str) -> Result<OwnedFd, Errno>,
    ) -> Result<Arc<OwnedFd>, Errno> {
        let path = key.leaf_path();
        let (cached_depth, cached_dir) = self.deepest_cached(&path);
        let first_parent: &OwnedFd = cached_dir.as_deref().unwrap_or(&self.artifacts);
        let mut opened: Vec<Arc<OwnedFd>> = Vec::with_capacity(DEPTH - cached_depth);
        for token in &key.dirs[cached_depth..] {
            let parent = opened.last().map_or(first_parent, |dir| &**dir);
            let dir = open(parent, token.as_str())?;
            opened.push(Arc::new(dir));
        }
        // All directories are created before the first sync, so that a journaling file system writes its journal once.
        // A directory that existed before is synced too, because the put that created it may not have synced it yet.
        if let [parents @ .., _leaf] = &opened[..] {
            self.sync(first_parent)?;
            parents.iter().try_for_each(|dir| self.sync(dir))?;
        }
        let mut cache = self.cache();
        for (depth, dir) in (cached_depth + 1..).zip(&opened) {
            cache.insert(path_prefix(&path, depth), Arc::clone(dir));
        }
        // The leaf is the last directory in `opened`. If `opened` is empty, the leaf was in the cache and is
        // `cached_dir`. So `NOENT` is never returned here.
        opened.pop().or(cached_dir).ok_or(Errno::NOENT)
    }

    /// Returns the deepest directory on `leaf_path` that is in the cache, and its depth: 1 for the tenant's directory,
    /// [`DEPTH`] for the leaf. Returns `(0, None)` if the cache contains no directory of the path.
    fn deepest_cached(&self, leaf_path: &str) -> (usize, Option<Arc<OwnedFd>>) {
        let mut cache = self.cache();
        for depth in (1..=DEPTH).rev() {
            if let Some(dir) = cache.get(path_prefix(leaf_path, depth)) {
                return (depth, Some(dir));
            }
        }
        (0, None)
    }

    /// Syncs `dir` under [`SyncPolicy::Always`].
    pub(crate) fn sync(&self, dir: &OwnedFd) -> Result<(), Errno> {
        if self.sync.is_always() { sync_dir(dir) } else { Ok(()) }
    }

    /// Syncs the directory entry of `file`, and the entries of all directories above the file. `file` was opened at the
    /// path of `key`. Returns `false` if this path does not lead to `file` any more: the artifact was deleted or
    /// replaced.
    pub(crate) fn sync_entry(&self, key: &ArtifactKey, file: &File) -> Result<bool, Errno> {
        let expected = rustix::fs::fstat(file)?;
        let sync = || {
            let leaf = self.open_leaf(key)?;
            // Another process may have removed a cached directory and created it again. Then the cached handle leads to
            // the removed directory, and syncing this directory would be useless. So this closure checks that the
            // opened leaf contains the file.
            let found = rustix::fs::statat(&leaf, key.file.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
            if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino) {
                return Err(Errno::NOENT);
            }
            self.sync(&leaf)
        };
        // If a directory in the cache was removed, the second attempt opens the directories anew.
        for _ in 0..2 {
            match sync() {
                Ok(()) => return Ok(true),
                Err(Errno::NOENT) => self.evict(key),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Removes all directories on the path to `key` from the cache. Call this when one of these directories does not
    /// exist any more.
    pub(crate) fn evict(&self, key: &ArtifactKey) {
        let path = key.leaf_path();
        let mut cache = self.cache();
        for depth in 1..=DEPTH {
            cache.dirs.remove(path_prefix(&path, depth));
        }
    }

    /// Removes the directory at `depth` on the path to `key` from the cache. The depth of the tenant's directory is 1,
    /// the depth of the leaf is [`DEPTH`].
    pub(crate) fn evict_depth(&self, key: &ArtifactKey, depth: usize) {
        self.cache().dirs.remove(path_prefix(&key.leaf_path(), depth));
    }

    /// Opens the directories on the path to `key` and returns them, the tenant's directory first. If a directory does
    /// not exist, returns only the directories above it. The list is empty if the tenant's directory does not exist.
    pub(crate) fn open_chain(&self, key: &ArtifactKey) -> Result<Vec<OwnedFd>, Errno> {
        let mut chain: Vec<OwnedFd> = Vec::with_capacity(DEPTH);
        for token in &key.dirs {
            match open_dir(chain.last().unwrap_or(&self.artifacts), token.as_str()) {
                Ok(dir) => chain.push(dir),
                Err(Errno::NOENT) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(chain)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, DirCache> {
        // The cache is consistent after every statement. So it can be used even if another thread panicked while that
        // thread held the lock.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;

    use artifact_store_core::{ArtifactId, Digest, Namespace, Scope};
    use rustix::io::Errno;

    use super::{ScopeDirs, open_dir, path_prefix};
    use crate::config::SyncPolicy;
    use crate::delete::prune_empty_dirs;
    use crate::layout::ArtifactKey;
    use crate::read::ReadMode;

    fn key() -> ArtifactKey {
        let id = ArtifactId::new(&Namespace::default(), &Digest::of(b""));
        ArtifactKey::new(&Scope::new("acme", "ada", "s-1").unwrap(), &id)
    }

    fn dirs(test_dir: &tempfile::TempDir) -> ScopeDirs {
        ScopeDirs::new(
            open_dir(rustix::fs::CWD, test_dir.path().to_str().unwrap()).unwrap(),
            SyncPolicy::Always,
        )
    }

    #[test]
    fn path_prefix_returns_as_many_components_as_the_depth() {
        assert_eq!([1, 2, 3, 4].map(|depth| path_prefix("a/b/c/d", depth)), ["a", "a/b", "a/b/c", "a/b/c/d"]);
    }

    #[test]
    fn a_leaf_that_was_removed_is_created_again_after_it_was_evicted() {
        let test_dir = tempfile::tempdir().unwrap();
        let (dirs, key) = (dirs(&test_dir), key());
        assert_eq!(dirs.open_leaf(&key).unwrap_err(), Errno::NOENT);
        dirs.open_or_create_leaf(&key).unwrap();
        fs::remove_dir_all(test_dir.path().join(key.dirs[0].as_str())).unwrap();
        // The cache still has the removed leaf. Nothing can be created in it.
        let stale = dirs.open_or_create_leaf(&key).unwrap();
        assert_eq!(rustix::fs::mkdirat(&stale, "x", super::DIR_MODE), Err(Errno::NOENT));
        dirs.evict(&key);
        dirs.open_or_create_leaf(&key).unwrap();
        assert!(test_dir.path().join(key.leaf_path()).is_dir());
        // The leaf of a task of the same session has its parents in the cache, so only this leaf is opened and created.
        let task = Scope::new("acme", "ada", "s-1").unwrap().with_task("t").unwrap();
        let sibling = ArtifactKey::new(&task, &ArtifactId::new(&Namespace::default(), &Digest::of(b"")));
        dirs.open_or_create_leaf(&sibling).unwrap();
        // Pruning removes the empty directories from the disk and from the cache.
        prune_empty_dirs(&dirs, &sibling);
        prune_empty_dirs(&dirs, &key);
        assert_eq!(fs::read_dir(test_dir.path()).unwrap().count(), 0);
        assert!(dirs.cache().dirs.is_empty());
    }

    #[test]
    fn an_entry_is_synced_where_it_is_and_not_in_a_directory_that_was_removed() {
        let test_dir = tempfile::tempdir().unwrap();
        let (dirs, key) = (dirs(&test_dir), key());
        let stale = dirs.open_or_create_leaf(&key).unwrap();
        fs::remove_dir_all(test_dir.path().join(key.dirs[0].as_str())).unwrap();
        fs::create_dir_all(test_dir.path().join(key.leaf_path())).unwrap();
        fs::write(test_dir.path().join(key.file_path()), "x").unwrap();
        let file = dirs.open_artifact(&key, ReadMode::Blocking).unwrap().unwrap();
        assert!(dirs.sync_entry(&key, &file).unwrap());
        let inode = |dir: &OwnedFd| rustix::fs::fstat(dir).unwrap().st_ino;
        let leaf = dirs.open_leaf(&key).unwrap();
        assert_ne!(inode(&leaf), inode(&stale));

        fs::remove_file(test_dir.path().join(key.file_path())).unwrap();
        assert!(!dirs.sync_entry(&key, &file).unwrap());
        fs::write(test_dir.path().join(key.file_path()), "another").unwrap();
        assert!(!dirs.sync_entry(&key, &file).unwrap());
    }

    #[test]
    fn the_cache_keeps_the_latest_directory_and_no_more_than_its_capacity() {
        let test_dir = tempfile::tempdir().unwrap();
        let dirs = dirs(&test_dir);
        let id = ArtifactId::new(&Namespace::default(), &Digest::of(b""));
        dirs.cache().capacity = 5;
        for n in 0..20 {
            let key = ArtifactKey::new(&Scope::new("acme", "ada", format!("s-{n}")).unwrap(), &id);
            dirs.open_or_create_leaf(&key).unwrap();
            assert!(dirs.cache().dirs.len() <= 5);
            assert!(dirs.cache().dirs.contains_key(&key.leaf_path()));
        }
    }

    #[test]
    fn open_by_walk_opens_what_open_by_path_opens_and_neither_follows_a_link() {
        let test_dir = tempfile::tempdir().unwrap();
        let (dirs, key) = (dirs(&test_dir), key());
        dirs.open_or_create_leaf(&key).unwrap();
        assert_eq!(dirs.open_by_walk(&key).unwrap_err(), Errno::NOENT);
        let file = test_dir.path().join(key.file_path());
        fs::write(&file, "x").unwrap();
        assert!(dirs.open_by_walk(&key).is_ok() && dirs.open_by_path(&key).is_ok());
        let tenant = test_dir.path().join(key.dirs[0].as_str());
        fs::rename(&tenant, test_dir.path().join("aside")).unwrap();
        symlink("aside", &tenant).unwrap();
        // For a symbolic link, `openat` with the flag `DIRECTORY` returns `NOTDIR`, and `openat2` returns `LOOP`.
        assert_eq!(dirs.open_by_walk(&key).unwrap_err(), Errno::NOTDIR);
        assert_eq!(dirs.open_by_path(&key).unwrap_err(), Errno::LOOP);
        assert!(dirs.open_cached(&key).is_err());
    }
}
