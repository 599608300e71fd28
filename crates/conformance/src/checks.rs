//! The list of all checks, by group.
//!
//! To add a check, write it in the file of its group and add it to the list in that file.

mod absence;
mod atomicity;
mod concurrency;
mod dedup;
mod dropped_puts;
mod flags;
mod isolation;
mod lifecycle;
mod listing;
mod model;
mod presign;
mod presign_probes;
mod ranges;
mod round_trip;

use crate::check::Check;

/// Every check of the suite.
pub fn all() -> Vec<Check> {
    [
        round_trip::CHECKS,
        dedup::CHECKS,
        absence::CHECKS,
        ranges::CHECKS,
        listing::CHECKS,
        isolation::CHECKS,
        atomicity::CHECKS,
        concurrency::CHECKS,
        lifecycle::CHECKS,
        flags::CHECKS,
        presign::CHECKS,
        model::CHECKS,
    ]
    .concat()
}

/// Defines the list `CHECKS` of a group. Each entry is the name of a function, which is also the name of the check. A
/// check of a flag has `= Flag` after its name.
macro_rules! check_group {
    ($group:literal: $($name:ident $(= $flag:ident)?),+ $(,)?) => {
        pub(crate) const CHECKS: &[$crate::check::Check] = &[$($crate::check::Check {
            name: stringify!($name),
            group: $group,
            flag: check_group!(@flag $($flag)?),
            run: |ctx| Box::pin($name(ctx)),
        }),+];
    };
    (@flag) => { None };
    (@flag $flag:ident) => { Some(artifact_store_core::Flag::$flag) };
}

pub(crate) use check_group;
