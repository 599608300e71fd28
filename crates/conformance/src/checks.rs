//! The list of all checks, by group.
//!
//! A check is added in its group's file and in its list there; nothing else knows it.

mod absence;
mod atomicity;
mod concurrency;
mod dedup;
mod flags;
mod isolation;
mod lifecycle;
mod listing;
mod model;
mod presign;
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

/// A group's list: each function's name is the check's name.
macro_rules! group {
    ($group:literal: $($name:ident $(= $flag:ident)?),+ $(,)?) => {
        pub(crate) const CHECKS: &[$crate::check::Check] = &[$($crate::check::Check {
            name: stringify!($name),
            group: $group,
            flag: group!(@flag $($flag)?),
            run: |lab| Box::pin($name(lab)),
        }),+];
    };
    (@flag) => { None };
    (@flag $flag:ident) => { Some(artifact_store_core::Flag::$flag) };
}

pub(crate) use group;
