//! One lock per key: within a process, changes of one object run one after the other. The locks are global, because a
//! process may open the same store several times.
//!
//! This module must never know what a lock protects.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The locks that are held or waited for, by name.
static LOCKS: LazyLock<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>> = LazyLock::new(Mutex::default);

fn locks() -> MutexGuard<'static, HashMap<String, Arc<AsyncMutex<()>>>> {
    LOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the lock of a key, or waits for the lock. Dropping the guard releases the lock, or ends the wait.
#[derive(Debug)]
pub struct KeyLockGuard {
    name: String,
    /// The guard's reference to the lock; `None` only while the guard is dropped.
    lock: Option<Arc<AsyncMutex<()>>>,
    /// `None` while the guard waits.
    held: Option<OwnedMutexGuard<()>>,
}

/// Acquires the lock called `name`. The name contains the server, the bucket and the key.
///
/// Cancel-safe: if this future is dropped, it leaves nothing behind.
pub async fn lock_key(name: String) -> KeyLockGuard {
    let lock = Arc::clone(locks().entry(name.clone()).or_default());
    // The guard is created before the wait. If the caller drops this future, the guard removes the lock from the map.
    let mut guard = KeyLockGuard { name, lock: Some(Arc::clone(&lock)), held: None };
    guard.held = Some(lock.lock_owned().await);
    guard
}

impl Drop for KeyLockGuard {
    fn drop(&mut self) {
        // Releases the lock. `held` and `lock` both contain a reference to the lock, which must not be counted below.
        self.held = None;
        let mut locks = locks();
        self.lock = None;
        // The map has one reference, and each other guard of this key has at least one. If only the map has a
        // reference, no guard is left, so the map does not need the lock any more.
        if let Entry::Occupied(entry) = locks.entry(std::mem::take(&mut self.name))
            && Arc::strong_count(entry.get()) == 1
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{lock_key, locks};

    #[tokio::test]
    async fn locks_of_one_key_do_not_overlap_and_leave_nothing_in_the_map() {
        let first = lock_key("locks test".into()).await;
        let second = tokio::time::timeout(Duration::from_millis(20), lock_key("locks test".into())).await;
        assert!(second.is_err(), "two guards hold the same lock");
        let _other = lock_key("locks test, another key".into()).await;
        drop(first);
        drop(lock_key("locks test".into()).await);
        assert!(!locks().contains_key("locks test"));
    }
}
