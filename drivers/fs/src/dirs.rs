//! Directories: opened one component at a time, relative to a handle, without following a link.
//!
//! So nothing that this driver does leaves the root, whatever stands there. Reads resolve a path afresh each time; puts
//! keep a bounded number of directories open. This module must never know what a file holds.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use crate::config::SyncPolicy;
use crate::layout::{DEPTH, Key};

/// Rights of a directory: its owner's only.
pub(crate) const DIR_MODE: Mode = Mode::RWXU;
/// Rights of a file: its owner's only.
pub(crate) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `NONBLOCK` does nothing to a regular file, and keeps a named pipe that was planted from hanging the reader.
const READ_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

const MAX_CACHED: usize = 256;

/// How many files this process may have open; `None` where there is no limit.
pub(crate) fn open_files_limit() -> Option<usize> {
    getrlimit(Resource::Nofile).current.map(|files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Opens the directory `name` in `parent`.
pub(crate) fn open_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(&parent, name, DIR_FLAGS, Mode::empty()))
}

/// Opens the file `name` in `parent` for reading; what it is remains to be seen.
pub(crate) fn open_file(parent: impl AsFd, name: &str) -> Result<File, Errno> {
    retry_on_intr(|| rustix::fs::openat(&parent, name, READ_FLAGS, Mode::empty())).map(File::from)
}

/// Makes the directory `name` in `parent` unless it stands, and opens it.
pub(crate) fn make_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    match open_dir(&parent, name) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(&parent, name, DIR_MODE) {
        Ok(()) => {
            let made = open_dir(&parent, name)?;
            give_owner_of(&made, parent)?;
            Ok(made)
        }
        Err(Errno::EXIST) => open_dir(parent, name),
        Err(error) => Err(error),
    }
}

/// Gives what this process has just made the owner and group of `like`, where they differ and it may: the superuser must not
/// leave files behind that the store's own user cannot open.
pub(crate) fn give_owner_of(made: impl AsFd, like: impl AsFd) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (own, like) = (rustix::fs::fstat(&made)?, rustix::fs::fstat(like)?);
    if (own.st_uid, own.st_gid) == (like.st_uid, like.st_gid) {
        return Ok(());
    }
    let (user, group) = (rustix::fs::Uid::from_raw(like.st_uid), rustix::fs::Gid::from_raw(like.st_gid));
    rustix::fs::fchown(made, Some(user), Some(group))
}

/// Waits until the disk holds the entries of `dir`.
pub(crate) fn sync_dir(dir: impl AsFd) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::fsync(&dir))
}

/// The names in `dir`, without `.` and `..`, as they come. One that is not UTF-8, and so none of the store's, comes with
/// replacement characters in it, which no name of the store has.
pub(crate) fn names(dir: impl AsFd) -> Result<impl Iterator<Item = Result<String, Errno>>, Errno> {
    let name = |entry: rustix::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let own = |name: &String| !matches!(name.as_str(), "." | "..");
    Ok(rustix::fs::Dir::read_from(dir)?
        .map(move |entry| entry.map(name))
        .filter(move |name| name.as_ref().map_or(true, own)))
}

/// The first `depth` components of a leaf's path.
fn prefix(leaf: &str, depth: usize) -> &str {
    leaf.match_indices('/').nth(depth - 1).map_or(leaf, |(end, _)| &leaf[..end])
}

/// The tree of scope directories.
#[derive(Debug)]
pub(crate) struct Dirs {
    artifacts: OwnedFd,
    sync: SyncPolicy,
    cache: Mutex<Cache>,
}

/// Open directories by path. Under [`SyncPolicy::Always`] each one's whole chain of parents was synced after it was made.
/// While a directory is linked its parents are too, because one that holds something cannot be removed; and nothing can
/// be put into a directory that is not: that fails, and the chain is made and synced again.
#[derive(Debug)]
struct Cache {
    open: HashMap<String, (Arc<OwnedFd>, u64)>,
    uses: u64,
    capacity: usize,
}

impl Cache {
    fn get(&mut self, path: &str) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        let (dir, used) = self.open.get_mut(path)?;
        *used = self.uses;
        Some(Arc::clone(dir))
    }

    fn insert(&mut self, path: &str, dir: Arc<OwnedFd>) {
        self.uses += 1;
        if self.open.len() >= self.capacity
            && let Some(oldest) =
                self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone())
        {
            self.open.remove(&oldest);
        }
        self.open.insert(path.to_owned(), (dir, self.uses));
    }
}

impl Dirs {
    /// The tree below `artifacts`.
    pub(crate) fn new(artifacts: OwnedFd, sync: SyncPolicy) -> Self {
        // An eighth of the files that this process may open is left to the cache.
        let capacity = open_files_limit().map_or(MAX_CACHED, |files| (files / 8).clamp(1, MAX_CACHED));
        Self { artifacts, sync, cache: Mutex::new(Cache { open: HashMap::new(), uses: 0, capacity }) }
    }

    /// The handle of the tree's top.
    pub(crate) fn top(&self) -> &OwnedFd {
        &self.artifacts
    }

    /// Opens an artifact's file; `None` where there is none.
    pub(crate) fn open(&self, key: &Key) -> Result<Option<File>, Errno> {
        match self.resolve(key) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// In one call where the kernel can refuse links in a whole path.
    #[cfg(target_os = "linux")]
    fn resolve(&self, key: &Key) -> Result<File, Errno> {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
        let path = key.path();
        match retry_on_intr(|| {
            rustix::fs::openat2(&self.artifacts, path.as_str(), READ_FLAGS, Mode::empty(), resolve)
        }) {
            // An old kernel, or a sandbox that does not know the call; the walk meets the true error, if there is one.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => self.resolve_by_walk(key),
            opened => opened.map(File::from),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn resolve(&self, key: &Key) -> Result<File, Errno> {
        self.resolve_by_walk(key)
    }

    fn resolve_by_walk(&self, key: &Key) -> Result<File, Errno> {
        let mut dir = open_dir(&self.artifacts, key.dirs[0].as_str())?;
        for token in &key.dirs[1..] {
            dir = open_dir(&dir, token.as_str())?;
        }
        open_file(&dir, key.file.as_str())
    }

    /// The leaf directory of `key`, ready to publish into: made where `make` says so, and under
    /// [`SyncPolicy::Always`] with the entries of all its parents on the disk.
    ///
    /// `NOENT` where it is missing, or a delete removed a parent at this very moment: then try again.
    pub(crate) fn leaf(&self, key: &Key, make: bool) -> Result<Arc<OwnedFd>, Errno> {
        let path = key.leaf();
        let (known, nearest) = {
            let mut cache = self.cache();
            let nearest = (1..=DEPTH).rev().find_map(|depth| Some((depth, cache.get(prefix(&path, depth))?)));
            nearest.map_or((0, None), |(depth, dir)| (depth, Some(dir)))
        };
        let mut below: Vec<Arc<OwnedFd>> = Vec::with_capacity(DEPTH - known);
        for token in &key.dirs[known..] {
            let parent = below.last().or(nearest.as_ref()).map_or(&self.artifacts, |dir| &**dir);
            let open = if make { make_dir(parent, token.as_str()) } else { open_dir(parent, token.as_str()) };
            below.push(Arc::new(open?));
        }
        // Only once all of them are made: a file system that keeps a journal then writes it once. Also where they
        // stood: who made them may not have come to syncing them.
        if let [above @ .., _leaf] = &below[..] {
            self.sync(nearest.as_deref().unwrap_or(&self.artifacts))?;
            above.iter().try_for_each(|dir| self.sync(dir))?;
        }
        let mut cache = self.cache();
        for (depth, dir) in (known + 1..).zip(&below) {
            cache.insert(prefix(&path, depth), Arc::clone(dir));
        }
        below.pop().or(nearest).ok_or(Errno::NOENT)
    }

    /// Syncs `dir` where the policy asks for it.
    pub(crate) fn sync(&self, dir: &OwnedFd) -> Result<(), Errno> {
        if self.sync.is_always() { sync_dir(dir) } else { Ok(()) }
    }

    /// Waits until the disk holds the entry of `file` under the name of `key`, and those of its parents. `false` where
    /// something else stands there by now, or nothing.
    pub(crate) fn sync_entry(&self, key: &Key, file: &File) -> Result<bool, Errno> {
        let ours = rustix::fs::fstat(file)?;
        let sync = || {
            let leaf = self.leaf(key, false)?;
            // A directory from the cache may have been removed and made again by another process; syncing the old one
            // would prove nothing. The one that holds the file is the right one.
            let there = rustix::fs::statat(&leaf, key.file.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
            if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) {
                return Err(Errno::NOENT);
            }
            self.sync(&leaf)
        };
        for _ in 0..2 {
            match sync() {
                Ok(()) => return Ok(true),
                Err(Errno::NOENT) => self.forget(key),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Drops the directories on the way to `key` from the cache: one of them proved to be removed.
    pub(crate) fn forget(&self, key: &Key) {
        let path = key.leaf();
        let mut cache = self.cache();
        for depth in 1..=DEPTH {
            cache.open.remove(prefix(&path, depth));
        }
    }

    /// Removes the file of `key`, then the directories that this leaves empty. `false` where there was none.
    pub(crate) fn remove(&self, key: &Key) -> Result<bool, Errno> {
        let chain = self.chain(key)?;
        let deepest = chain.last().unwrap_or(&self.artifacts);
        let removed = chain.len() == DEPTH
            && match rustix::fs::unlinkat(deepest, key.file.as_str(), AtFlags::empty()) {
                Ok(()) => true,
                Err(Errno::NOENT) => false,
                Err(error) => return Err(error),
            };
        // An absence is synced like a removal: another delete may have made it and not come to its own sync.
        self.sync(deepest)?;
        if removed {
            self.prune_chain(key, &chain);
        }
        Ok(removed)
    }

    /// Removes the empty directories on the way to `key`. Never fails: what cannot be removed now is left to a sweep.
    pub(crate) fn prune(&self, key: &Key) {
        if let Ok(chain) = self.chain(key) {
            self.prune_chain(key, &chain);
        }
    }

    fn prune_chain(&self, key: &Key, chain: &[OwnedFd]) {
        let path = key.leaf();
        for depth in (0..chain.len()).rev() {
            let parent = if depth == 0 { &self.artifacts } else { &chain[depth - 1] };
            // Not empty, gone already, or not to be removed: in each case its parents stay too.
            if rustix::fs::unlinkat(parent, key.dirs[depth].as_str(), AtFlags::REMOVEDIR).is_err() {
                return;
            }
            self.cache().open.remove(prefix(&path, depth + 1));
        }
    }

    /// The directories on the way to `key`, as far as they stand.
    fn chain(&self, key: &Key) -> Result<Vec<OwnedFd>, Errno> {
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

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // The cache is whole after every statement, so a panic elsewhere does not spoil it.
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

    use super::{Dirs, open_dir, prefix};
    use crate::config::SyncPolicy;
    use crate::layout::Key;

    fn key() -> Key {
        let id = ArtifactId::new(&Namespace::default(), &Digest::of(b""));
        Key::new(&Scope::new("acme", "ada", "s-1").unwrap(), &id)
    }

    fn dirs(home: &tempfile::TempDir) -> Dirs {
        Dirs::new(open_dir(rustix::fs::CWD, home.path().to_str().unwrap()).unwrap(), SyncPolicy::Always)
    }

    #[test]
    fn a_prefix_is_as_many_components() {
        assert_eq!([1, 2, 3, 4].map(|depth| prefix("a/b/c/d", depth)), ["a", "a/b", "a/b/c", "a/b/c/d"]);
    }

    #[test]
    fn a_leaf_whose_directory_was_removed_is_made_again_once_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let (dirs, key) = (dirs(&home), key());
        assert_eq!(dirs.leaf(&key, false).unwrap_err(), Errno::NOENT);
        dirs.leaf(&key, true).unwrap();
        fs::remove_dir_all(home.path().join(key.dirs[0].as_str())).unwrap();
        let stale = dirs.leaf(&key, true).unwrap();
        assert_eq!(rustix::fs::mkdirat(&stale, "x", super::DIR_MODE), Err(Errno::NOENT));
        dirs.forget(&key);
        dirs.leaf(&key, true).unwrap();
        assert!(home.path().join(key.leaf()).is_dir());
        // A sibling's chain starts at the nearest directory that is open.
        let task = Scope::new("acme", "ada", "s-1").unwrap().with_task("t").unwrap();
        let sibling = Key {
            file: key.file.clone(),
            ..Key::new(&task, &ArtifactId::new(&Namespace::default(), &Digest::of(b"")))
        };
        dirs.leaf(&sibling, true).unwrap();
        dirs.prune(&sibling);
        dirs.prune(&key);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        assert!(dirs.cache().open.is_empty());
    }

    #[test]
    fn an_entry_is_synced_where_it_is_and_not_in_a_directory_that_was_removed() {
        let home = tempfile::tempdir().unwrap();
        let (dirs, key) = (dirs(&home), key());
        let stale = dirs.leaf(&key, true).unwrap();
        fs::remove_dir_all(home.path().join(key.dirs[0].as_str())).unwrap();
        fs::create_dir_all(home.path().join(key.leaf())).unwrap();
        fs::write(home.path().join(key.path()), "x").unwrap();
        let file = dirs.open(&key).unwrap().unwrap();
        assert!(dirs.sync_entry(&key, &file).unwrap());
        let inode = |dir: &OwnedFd| rustix::fs::fstat(dir).unwrap().st_ino;
        let leaf = dirs.leaf(&key, false).unwrap();
        assert_ne!(inode(&leaf), inode(&stale));

        fs::remove_file(home.path().join(key.path())).unwrap();
        assert!(!dirs.sync_entry(&key, &file).unwrap());
        fs::write(home.path().join(key.path()), "another").unwrap();
        assert!(!dirs.sync_entry(&key, &file).unwrap());
    }

    #[test]
    fn the_cache_keeps_the_latest_and_no_more_than_its_capacity() {
        let home = tempfile::tempdir().unwrap();
        let dirs = dirs(&home);
        let id = ArtifactId::new(&Namespace::default(), &Digest::of(b""));
        dirs.cache().capacity = 5;
        for n in 0..20 {
            let key = Key::new(&Scope::new("acme", "ada", format!("s-{n}")).unwrap(), &id);
            dirs.leaf(&key, true).unwrap();
            assert!(dirs.cache().open.len() <= 5);
            assert!(dirs.cache().open.contains_key(&key.leaf()));
        }
    }

    #[test]
    fn walking_finds_what_the_kernel_resolves_and_follows_no_link_either() {
        let home = tempfile::tempdir().unwrap();
        let (dirs, key) = (dirs(&home), key());
        dirs.leaf(&key, true).unwrap();
        assert_eq!(dirs.resolve_by_walk(&key).unwrap_err(), Errno::NOENT);
        let file = home.path().join(key.path());
        fs::write(&file, "x").unwrap();
        assert!(dirs.resolve_by_walk(&key).is_ok() && dirs.resolve(&key).is_ok());
        let tenant = home.path().join(key.dirs[0].as_str());
        fs::rename(&tenant, home.path().join("aside")).unwrap();
        symlink("aside", &tenant).unwrap();
        assert_eq!(dirs.resolve_by_walk(&key).unwrap_err(), Errno::NOTDIR);
        assert_eq!(dirs.resolve(&key).unwrap_err(), Errno::LOOP);
    }
}
