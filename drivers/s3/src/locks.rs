//! Turns at a key: within one process, what changes an object goes one after the other, whatever store it comes from.
//!
//! This module must never know what a turn is used for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

static TABLE: LazyLock<Mutex<HashMap<String, Arc<Turn<()>>>>> = LazyLock::new(Mutex::default);

fn table() -> MutexGuard<'static, HashMap<String, Arc<Turn<()>>>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A turn, or the wait for it. Dropped, the next one has it.
#[derive(Debug)]
pub(crate) struct KeyTurn {
    name: String,
    turn: Option<Arc<Turn<()>>>,
    held: Option<OwnedMutexGuard<()>>,
}

/// Waits for the turn at `name`, which says store and key.
pub(crate) async fn turn(name: String) -> KeyTurn {
    let turn = Arc::clone(table().entry(name.clone()).or_default());
    let mut waiting = KeyTurn { name, turn: Some(Arc::clone(&turn)), held: None };
    waiting.held = Some(turn.lock_owned().await);
    waiting
}

impl Drop for KeyTurn {
    fn drop(&mut self) {
        self.held = None;
        let mut table = table();
        self.turn = None;
        // Whoever else waits or holds counts as one more; the last one takes the entry away.
        if let Entry::Occupied(entry) = table.entry(std::mem::take(&mut self.name))
            && Arc::strong_count(entry.get()) == 1
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{table, turn};

    #[tokio::test]
    async fn turns_at_one_key_do_not_overlap_and_leave_nothing_in_the_table() {
        let first = turn("locks test".into()).await;
        let second = tokio::time::timeout(Duration::from_millis(20), turn("locks test".into())).await;
        assert!(second.is_err());
        let _other = turn("locks test, another key".into()).await;
        drop(first);
        drop(turn("locks test".into()).await);
        assert!(!table().contains_key("locks test"));
    }
}
