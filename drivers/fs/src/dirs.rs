//! Directories: opened one component at a time, relative to the parent's handle, without following symbolic links.
//!
//! So the driver never opens a file outside the root, even if the root contains links. A read resolves its path on each
//! call. Puts use a cache of at most `MAX_CACHED` open directories. This module must never know what a file contains.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use crate::config::SyncPolicy;
use crate::layout::{ArtifactKey, DEPTH};

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
        Err(Errno::EXIST) => open_dir(parent, name),
        Err(error) => Err(error),
    }
}

/// Gives `created` the owner and group of `parent` if they differ and this process runs as the superuser. Otherwise the
/// user who owns the store could not open files and directories that the superuser created.
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
    let name = |entry: rustix::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let is_entry = |name: &String| !matches!(name.as_str(), "." | "..");
    Ok(rustix::fs::Dir::read_from(dir)?
        .map(move |entry| entry.map(name))
        .filter(move |name| name.as_ref().map_or(true, is_entry)))
}

/// The first `depth` components of `leaf`, which is the path of a leaf directory.
fn path_prefix(leaf: &str, depth: usize) -> &str {
    leaf.match_indices('/').nth(depth - 1).map_or(leaf, |(end, _)| &leaf[..end])
}

/// The tree of scope directories.
#[derive(Debug)]
pub(crate) struct ScopeDirs {
    artifacts: OwnedFd,
    sync: SyncPolicy,
    cache: Mutex<DirCache>,
}

/// A cache of open directories by path. The least recently used directory is evicted first.
///
/// Under [`SyncPolicy::Always`] all parents of a cached directory were synced after this directory was created. As long
/// as a directory exists, its parents exist too, because a directory with entries cannot be removed. Publishing into a
/// removed directory fails. Then the put evicts this directory and its parents from the cache, and creates and syncs
/// them again.
#[derive(Debug)]
struct DirCache {
    /// The handle of each directory, and the value of `uses` at its last use.
    dirs: HashMap<String, (Arc<OwnedFd>, u64)>,
    /// The number of uses of the cache so far.
    uses: u64,
    capacity: usize,
}

impl DirCache {
    fn get(&mut self, path: &str) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        let (dir, used) = self.dirs.get_mut(path)?;
        *used = self.uses;
        Some(Arc::clone(dir))
    }

    fn insert(&mut self, path: &str, dir: Arc<OwnedFd>) {
        self.uses += 1;
        if self.dirs.len() >= self.capacity
            && let Some(oldest) =
                self.dirs.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone())
        {
            self.dirs.remove(&oldest);
        }
        self.dirs.insert(path.to_owned(), (dir, self.uses));
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

    /// Opens an artifact's file. Returns `None` if it does not exist.
    pub(crate) fn open_artifact(&self, key: &ArtifactKey) -> Result<Option<File>, Errno> {
        match self.open_by_path(key) {
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
            // The kernel may not have `openat2`, or a sandbox may block it. Then the file is opened one component at a
            // time. If the error has another cause, `open_by_walk` returns that error.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => self.open_by_walk(key),
            opened => opened.map(File::from),
        }
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
    /// Under [`SyncPolicy::Always`] every directory above the leaf is synced, so that the whole path survives a power
    /// failure.
    ///
    /// # Errors
    /// `NOENT` if a delete removed one of the leaf's parents at the same time. The caller should try again.
    pub(crate) fn open_or_create_leaf(&self, key: &ArtifactKey) -> Result<Arc<OwnedFd>, Errno> {
        self.open_leaf_by(key, |parent, name| open_or_create_dir(parent, name))
    }

    /// Like [`open_or_create_leaf`](Self::open_or_create_leaf), but fails with `NOENT` if a directory does not exist.
    fn open_leaf(&self, key: &ArtifactKey) -> Result<Arc<OwnedFd>, Errno> {
        self.open_leaf_by(key, |parent, name| open_dir(parent, name))
    }

    /// Opens the leaf directory of `key`. Calls `open` for each directory on the path that is not in the cache.
    fn open_leaf_by(
        &self,
        key: &ArtifactKey,
        open: impl Fn(&OwnedFd, &str) -> Result<OwnedFd, Errno>,
    ) -> Result<Arc<OwnedFd>, Errno> {
        let path = key.leaf_path();
        let (ancestor_depth, ancestor) = {
            let mut cache = self.cache();
            let ancestor =
                (1..=DEPTH).rev().find_map(|depth| Some((depth, cache.get(path_prefix(&path, depth))?)));
            ancestor.map_or((0, None), |(depth, dir)| (depth, Some(dir)))
        };
        let mut opened: Vec<Arc<OwnedFd>> = Vec::with_capacity(DEPTH - ancestor_depth);
        for token in &key.dirs[ancestor_depth..] {
            let parent = opened.last().or(ancestor.as_ref()).map_or(&self.artifacts, |dir| &**dir);
            opened.push(Arc::new(open(parent, token.as_str())?));
        }
        // The first sync comes after all directories are created, so that a journaling file system writes its journal
        // once. Directories that existed before are synced too, because their creator may not have synced them yet.
        if let [parents @ .., _leaf] = &opened[..] {
            self.sync(ancestor.as_deref().unwrap_or(&self.artifacts))?;
            parents.iter().try_for_each(|dir| self.sync(dir))?;
        }
        let mut cache = self.cache();
        for (depth, dir) in (ancestor_depth + 1..).zip(&opened) {
            cache.insert(path_prefix(&path, depth), Arc::clone(dir));
        }
        opened.pop().or(ancestor).ok_or(Errno::NOENT)
    }

    /// Syncs `dir` if the policy requires it.
    pub(crate) fn sync(&self, dir: &OwnedFd) -> Result<(), Errno> {
        if self.sync.is_always() { sync_dir(dir) } else { Ok(()) }
    }

    /// Syncs the directory entry of `file`, whose path is given by `key`, and the entries of the parent directories.
    /// Returns `false` if this path does not lead to `file` any more: the artifact was deleted or replaced.
    pub(crate) fn sync_entry(&self, key: &ArtifactKey, file: &File) -> Result<bool, Errno> {
        let expected = rustix::fs::fstat(file)?;
        let sync = || {
            let leaf = self.open_leaf(key)?;
            // Another process may have removed a cached directory and created it again. Syncing the removed directory
            // would be useless, so this checks that the opened directory contains the file.
            let found = rustix::fs::statat(&leaf, key.file.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
            if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino) {
                return Err(Errno::NOENT);
            }
            self.sync(&leaf)
        };
        for _ in 0..2 {
            match sync() {
                Ok(()) => return Ok(true),
                Err(Errno::NOENT) => self.evict(key),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Removes all directories on the path to `key` from the cache, because one of them does not exist any more.
    pub(crate) fn evict(&self, key: &ArtifactKey) {
        let path = key.leaf_path();
        let mut cache = self.cache();
        for depth in 1..=DEPTH {
            cache.dirs.remove(path_prefix(&path, depth));
        }
    }

    /// Removes the directory at `depth` on the path to `key` from the cache.
    pub(crate) fn evict_depth(&self, key: &ArtifactKey, depth: usize) {
        self.cache().dirs.remove(path_prefix(&key.leaf_path(), depth));
    }

    /// Opens the directories on the path to `key`, the tenant's directory first. Stops at the first directory that does
    /// not exist, and returns the directories above it.
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
        // The cache is consistent after every statement, so it can be used even if another thread panicked while it
        // held the lock.
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
        let stale = dirs.open_or_create_leaf(&key).unwrap();
        assert_eq!(rustix::fs::mkdirat(&stale, "x", super::DIR_MODE), Err(Errno::NOENT));
        dirs.evict(&key);
        dirs.open_or_create_leaf(&key).unwrap();
        assert!(test_dir.path().join(key.leaf_path()).is_dir());
        // A sibling's chain starts at the nearest directory in the cache.
        let task = Scope::new("acme", "ada", "s-1").unwrap().with_task("t").unwrap();
        let sibling = ArtifactKey {
            file: key.file.clone(),
            ..ArtifactKey::new(&task, &ArtifactId::new(&Namespace::default(), &Digest::of(b"")))
        };
        dirs.open_or_create_leaf(&sibling).unwrap();
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
        let file = dirs.open_artifact(&key).unwrap().unwrap();
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
        assert_eq!(dirs.open_by_walk(&key).unwrap_err(), Errno::NOTDIR);
        assert_eq!(dirs.open_by_path(&key).unwrap_err(), Errno::LOOP);
    }
}
