//! [`Lists`]: the artifacts of each scope, session, user and tenant, and of the whole store, in listing order.
//!
//! This module must never lock anything: its caller has the lock.

use std::collections::HashMap;
use std::sync::Arc;

use artifact_store_core::{Filter, Scope, ScopePart, ScopePattern, TaskPattern, TenantPattern};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::field_index::{FieldIndex, FilterField};
use crate::layout::ArtifactEntry;
use crate::rows::{Row, SortedRows};

/// Lists with at most this many rows have no index of fields: a scan of all their rows is as fast.
const MAX_ROWS_WITHOUT_INDEX: usize = 1024;
/// If the rows that match a field are in more lists than this, merging these lists is worth its cost only if they contain
/// a small part of all rows.
const MAX_CHEAP_MERGE: usize = 64;

/// A prefix of a scope: the first 0 to 3 of its parts tenant, user and session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ScopePrefix {
    All,
    Tenant(ScopePart),
    User(ScopePart, ScopePart),
    Session(ScopePart, ScopePart, ScopePart),
}

impl ScopePrefix {
    /// All four prefixes of `scope`.
    fn all_of(scope: &Scope) -> [Self; 4] {
        let (tenant, user, session) = (scope.tenant(), scope.user(), scope.session());
        [
            Self::All,
            Self::Tenant(tenant.clone()),
            Self::User(tenant.clone(), user.clone()),
            Self::Session(tenant.clone(), user.clone(), session.clone()),
        ]
    }
}

/// The list that contains all rows of a pattern.
enum ListName {
    /// The list has no other rows.
    Scope(Scope),
    /// The list has no other rows.
    Prefix(ScopePrefix),
    /// The list also has rows that the pattern does not match.
    PrefixWithOthers(ScopePrefix),
}

impl ListName {
    fn of(pattern: &ScopePattern) -> Self {
        let any_task = pattern.task == TaskPattern::Any;
        match (&pattern.tenant, &pattern.user, &pattern.session) {
            (TenantPattern::One(tenant), Some(user), Some(session)) => {
                let task = match &pattern.task {
                    TaskPattern::Any => {
                        let (tenant, user, session) = (tenant.clone(), user.clone(), session.clone());
                        return Self::Prefix(ScopePrefix::Session(tenant, user, session));
                    }
                    TaskPattern::NoTask => None,
                    TaskPattern::One(task) => Some(task.clone()),
                };
                Self::Scope(Scope::from_parts(tenant.clone(), user.clone(), session.clone(), task))
            }
            (TenantPattern::One(tenant), Some(user), None) => {
                let prefix = ScopePrefix::User(tenant.clone(), user.clone());
                if any_task { Self::Prefix(prefix) } else { Self::PrefixWithOthers(prefix) }
            }
            (TenantPattern::One(tenant), None, None) if any_task => {
                Self::Prefix(ScopePrefix::Tenant(tenant.clone()))
            }
            (TenantPattern::One(tenant), None, _) => {
                Self::PrefixWithOthers(ScopePrefix::Tenant(tenant.clone()))
            }
            (TenantPattern::AllTenants, None, None) if any_task => Self::Prefix(ScopePrefix::All),
            (TenantPattern::AllTenants, _, _) => Self::PrefixWithOthers(ScopePrefix::All),
        }
    }
}

/// The rows of one scope or prefix, and the indexes that listings have asked for.
#[derive(Debug, Default)]
pub(crate) struct List {
    rows: SortedRows,
    /// At most one for each field.
    field_indexes: Vec<FieldIndex>,
}

/// Lists that together contain every row that a query can match.
pub(crate) struct Candidates<'a> {
    pub(crate) lists: Vec<&'a SortedRows>,
    /// Whether the rows of the lists match the query, except for the times of its filter, and no row is in two lists.
    pub(crate) are_exact: bool,
}

impl List {
    fn insert(&mut self, row: &Row) {
        self.rows.insert(row.clone());
        for index in &mut self.field_indexes {
            index.insert(row);
        }
    }

    fn remove(&mut self, row: &Row) {
        self.rows.remove(row);
        for index in &mut self.field_indexes {
            index.remove(row);
        }
    }

    /// Whether listings with `filter` need indexes that are not complete.
    pub(crate) fn needs_indexes(&self, filter: &Filter) -> bool {
        self.rows.len() > MAX_ROWS_WITHOUT_INDEX
            && FilterField::used_by(filter).any(|field| self.complete_index(field).is_none())
    }

    /// Puts at most `max_rows` rows into the indexes that listings with `filter` need.
    pub(crate) fn build_indexes(&mut self, filter: &Filter, max_rows: usize) {
        for field in FilterField::used_by(filter) {
            let position = self.field_indexes.iter().position(|index| index.field() == field);
            let position = position.unwrap_or_else(|| {
                self.field_indexes.push(FieldIndex::new(field));
                self.field_indexes.len() - 1
            });
            self.field_indexes[position].build(&self.rows, max_rows);
        }
    }

    fn complete_index(&self, field: FilterField) -> Option<&FieldIndex> {
        self.field_indexes.iter().find(|index| index.field() == field && index.is_complete())
    }

    /// The shortest lists that contain every row that `filter` matches. The times of the filter are ignored.
    pub(crate) fn candidates(&self, filter: &Filter) -> Candidates<'_> {
        let mut fields = FilterField::used_by(filter);
        let Some(first_field) = fields.next() else {
            return Candidates { lists: vec![&self.rows], are_exact: true };
        };
        let has_one_field = fields.next().is_none();
        let of_field = |field| self.complete_index(field)?.lists_matching(filter);
        let rows_in = |lists: &Vec<&SortedRows>| lists.iter().map(|rows| rows.len()).sum::<usize>();
        let shortest = FilterField::used_by(filter).filter_map(of_field).min_by_key(rows_in);
        match shortest {
            Some(lists) if lists.len() <= MAX_CHEAP_MERGE || rows_in(&lists) < self.rows.len() / 4 => {
                // A row with two of the requested tags is in two lists.
                let are_disjoint = first_field != FilterField::Tags || lists.len() <= 1;
                Candidates { lists, are_exact: has_one_field && are_disjoint }
            }
            _ => Candidates { lists: vec![&self.rows], are_exact: false },
        }
    }
}

/// The lists of a scope: that of the scope itself, and those of its prefixes.
#[derive(Debug)]
struct ScopeLists {
    scope: Scope,
    hash: u64,
    /// The indexes in [`Lists::slots`].
    lists: [usize; 5],
}

/// All lists of a store. A scope or prefix without artifacts has no list.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// A slot that is not in use has an empty list.
    slots: Vec<List>,
    /// The indexes of the slots that are not in use.
    free: Vec<usize>,
    /// The table finds the lists of a put with a hash that was computed before the lock was taken.
    scopes: HashTable<ScopeLists>,
    prefixes: HashMap<ScopePrefix, usize>,
}

impl Lists {
    /// Inserts an artifact of `scope` into the lists of the scope and its prefixes. `hash` is the hash of the scope.
    pub(crate) fn insert(&mut self, scope: &Scope, hash: u64, entry: &Arc<ArtifactEntry>) {
        let row = Row::new(entry);
        let existing = self
            .scopes
            .find(hash, |lists| lists.hash == hash && lists.scope == *scope)
            .map(|existing| existing.lists);
        for list in existing.unwrap_or_else(|| self.add_scope(scope, hash)) {
            self.slots[list].insert(&row);
        }
    }

    /// Adds the lists of `scope` that do not exist, and returns the indexes of all its lists.
    fn add_scope(&mut self, scope: &Scope, hash: u64) -> [usize; 5] {
        let mut lists = [self.add_list(); 5];
        for (list, prefix) in lists[1..].iter_mut().zip(ScopePrefix::all_of(scope)) {
            let existing = self.prefixes.get(&prefix).copied();
            *list = existing.unwrap_or_else(|| {
                let added = self.add_list();
                self.prefixes.insert(prefix, added);
                added
            });
        }
        let scope_lists = ScopeLists { scope: scope.clone(), hash, lists };
        self.scopes.insert_unique(hash, scope_lists, |lists| lists.hash);
        lists
    }

    /// Adds an empty list and returns its index.
    fn add_list(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(List::default());
            self.slots.len() - 1
        })
    }

    /// Removes an artifact of `scope` from all lists, and removes the lists that are empty then.
    pub(crate) fn remove(&mut self, scope: &Scope, hash: u64, entry: &Arc<ArtifactEntry>) {
        let row = Row::new(entry);
        let Entry::Occupied(scope_lists) =
            self.scopes.entry(hash, |lists| lists.scope == *scope, |lists| lists.hash)
        else {
            return;
        };
        let [own_list, prefix_lists @ ..] = scope_lists.get().lists;
        self.slots[own_list].remove(&row);
        if self.slots[own_list].rows.is_empty() {
            scope_lists.remove();
            self.slots[own_list] = List::default();
            self.free.push(own_list);
        }
        for (list, prefix) in prefix_lists.into_iter().zip(ScopePrefix::all_of(scope)) {
            self.slots[list].remove(&row);
            if self.slots[list].rows.is_empty() {
                self.prefixes.remove(&prefix);
                self.slots[list] = List::default();
                self.free.push(list);
            }
        }
    }

    /// The list with all rows of `pattern`, and whether it has no other rows. `None` if there are no rows. `hash` is the
    /// hash of scopes.
    pub(crate) fn find(&self, pattern: &ScopePattern, hash: impl Fn(&Scope) -> u64) -> Option<(&List, bool)> {
        let (index, is_exact) = self.find_index(pattern, hash)?;
        Some((&self.slots[index], is_exact))
    }

    /// As [`find`](Self::find), to build the indexes of the list.
    pub(crate) fn find_mut(
        &mut self,
        pattern: &ScopePattern,
        hash: impl Fn(&Scope) -> u64,
    ) -> Option<&mut List> {
        let (index, _) = self.find_index(pattern, hash)?;
        Some(&mut self.slots[index])
    }

    fn find_index(&self, pattern: &ScopePattern, hash: impl Fn(&Scope) -> u64) -> Option<(usize, bool)> {
        match ListName::of(pattern) {
            ListName::Scope(scope) => {
                let found = self.scopes.find(hash(&scope), |lists| lists.scope == scope)?;
                Some((found.lists[0], true))
            }
            ListName::Prefix(prefix) => Some((*self.prefixes.get(&prefix)?, true)),
            ListName::PrefixWithOthers(prefix) => Some((*self.prefixes.get(&prefix)?, false)),
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Describes what is wrong with the lists of `entry`, for a test.
    pub(crate) fn audit_entry(&self, scope: &Scope, hash: u64, entry: &Arc<ArtifactEntry>) -> Option<String> {
        let row = Row::new(entry);
        let Some(scope_lists) = self.scopes.find(hash, |lists| lists.hash == hash && lists.scope == *scope)
        else {
            return Some(format!("{scope:?} has an artifact, but no lists"));
        };
        let mut lists = scope_lists.lists.iter().map(|index| &self.slots[*index]);
        lists
            .any(|list| {
                !list.rows.contains(&row) || !list.field_indexes.iter().all(|index| index.contains(&row))
            })
            .then(|| format!("{} is missing in a list of {scope:?}", entry.record.id))
    }

    /// Describes what is wrong with the lists of `artifact_count` artifacts, for a test.
    pub(crate) fn audit(&self, artifact_count: usize) -> Vec<String> {
        let mut problems = Vec::new();
        let row_count: usize = self.slots.iter().map(|list| list.rows.len()).sum();
        // Each artifact is in the list of its scope and in those of the 4 prefixes.
        if row_count != 5 * artifact_count {
            problems.push(format!("{artifact_count} artifacts have {row_count} rows instead of 5 each"));
        }
        let in_use = self.scopes.len() + self.prefixes.len();
        if self.slots.iter().filter(|list| !list.rows.is_empty()).count() != in_use
            || self.slots.len() != in_use + self.free.len()
        {
            problems.push("a list without artifacts was not removed".to_owned());
        }
        for list in &self.slots {
            problems.extend(list.field_indexes.iter().filter_map(|index| index.audit(&list.rows)));
        }
        problems
    }
}
