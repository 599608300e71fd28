//! Liars: stores that each break one promise, to prove that the suite notices it. The broken promise is the store's
//! [`Lie`].
//!
//! [`ALL`] pairs every [`Lie`] with the check that must fail. Every liar wraps an honest store ([`HonestHarness`]): the
//! inmem driver with presigned URLs. The URLs are needed to test the checks of the presigning flags.

mod harness;
mod honest;
mod lie;
mod list;
mod locking;
mod put;
mod shared_state;
mod store;
mod url_server;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use harness::Liar;
pub use honest::HonestHarness;
pub use lie::Lie;
pub use locking::LockingHarness;

/// Locks `mutex`, even if another thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lie, and the check that must fail for it.
#[derive(Clone, Copy)]
pub struct ExpectedFailure {
    /// The lie.
    pub lie: Lie,
    /// The name of the check that must fail.
    pub check: &'static str,
}

impl fmt::Debug for ExpectedFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} → {}", self.lie, self.check)
    }
}

const fn expected(lie: Lie, check: &'static str) -> ExpectedFailure {
    ExpectedFailure { lie, check }
}

/// Every lie, and the check that must fail for it.
pub const ALL: &[ExpectedFailure] = &[
    expected(Lie::StatIgnoresTask, "stat_finds_nothing_in_a_neighbouring_scope"),
    expected(Lie::GetIgnoresTask, "get_finds_nothing_in_a_neighbouring_scope"),
    expected(Lie::DeleteIgnoresTask, "delete_removes_nothing_in_a_neighbouring_scope"),
    expected(Lie::ListIgnoresTask, "list_shows_nothing_of_a_neighbouring_scope"),
    expected(Lie::PresignIgnoresTask, "presign_signs_nothing_in_a_neighbouring_scope"),
    expected(Lie::CommitIgnoresTask, "commit_upload_takes_nothing_of_a_neighbouring_scope"),
    expected(Lie::FoldsCase, "weird_parts_never_meet"),
    expected(Lie::TaskNamedNoneIsNoTask, "weird_parts_never_meet"),
    expected(Lie::JoinsPartsRaw, "weird_parts_never_meet_across_a_boundary"),
    expected(Lie::TenantByPrefix, "a_listing_covers_exactly_its_scopes"),
    expected(Lie::IgnoresRange, "every_shape_of_range_serves_its_bytes"),
    expected(Lie::ShiftsSuffix, "every_shape_of_range_serves_its_bytes"),
    expected(Lie::DropsLastKib, "exactly_64_kib_come_back"),
    expected(Lie::FlipsAByte, "five_mib_come_back"),
    expected(Lie::FlipsAByteOfARange, "every_shape_of_range_serves_its_bytes"),
    expected(Lie::ShortensLongStreams, "a_stream_of_64_mib_comes_back"),
    expected(Lie::ForgetsMetadata, "the_record_has_every_put_option"),
    expected(Lie::StopsTextAtNul, "the_record_has_every_put_option"),
    expected(Lie::RefusesLargeOptions, "options_of_the_largest_size_come_back"),
    expected(Lie::IdOfTwelveDigits, "digests_that_agree_in_12_digits_stay_apart"),
    expected(Lie::AlwaysCreated, "the_same_bytes_already_exist"),
    expected(Lie::SecondWriterWins, "the_first_writers_options_stay"),
    expected(Lie::AbsenceIsAnError, "a_missing_artifact_is_none"),
    expected(Lie::DeleteAlwaysTrue, "deleting_says_whether_it_was_there"),
    expected(Lie::StaleReadAfterDelete, "a_deleted_artifact_is_gone_from_every_verb"),
    expected(Lie::NeverForgetsAnId, "an_artifact_can_be_put_again_after_its_delete"),
    expected(Lie::IgnoresTagFilter, "every_filter_keeps_what_it_says"),
    expected(Lie::ComparesMediaTypesExactly, "a_media_range_covers_what_it_says"),
    expected(Lie::SizeBoundsExclusive, "every_filter_keeps_what_it_says"),
    expected(Lie::OldestFirst, "newest_come_first_and_ties_go_by_id"),
    expected(Lie::TiesBackwards, "newest_come_first_and_ties_go_by_id"),
    expected(Lie::IgnoresLimit, "a_page_has_no_more_rows_than_its_limit"),
    expected(Lie::SkipsARowBetweenPages, "pages_cover_every_row_once"),
    expected(Lie::RepeatsARowBetweenPages, "pages_cover_every_row_once"),
    expected(Lie::TotalOfThePage, "the_total_counts_every_match"),
    expected(Lie::CursorIsAnOffset, "a_cursor_is_stable_under_puts_and_deletes"),
    expected(Lie::TakesAnyCursor, "an_altered_cursor_is_refused"),
    expected(Lie::CursorOfAnyQuery, "a_cursor_of_another_query_is_refused"),
    expected(Lie::RecordBeforeBytes, "nothing_is_visible_before_the_end"),
    expected(Lie::CutsAtTheLimit, "a_body_over_its_limit_leaves_nothing"),
    expected(Lie::LimitOffByOne, "a_body_of_exactly_its_limit_is_stored"),
    expected(Lie::IgnoresDigest, "a_wrong_digest_leaves_nothing"),
    expected(Lie::KeepsPartialBody, "a_failing_source_leaves_nothing"),
    expected(Lie::IgnoresLength, "a_wrong_length_leaves_nothing"),
    expected(Lie::LeaksATempFile, "a_failing_source_leaves_nothing"),
    expected(Lie::LeaksWhenDropped, "a_dropped_put_leaves_nothing"),
    expected(Lie::DestroysADroppedCommit, "a_dropped_put_leaves_nothing"),
    expected(Lie::LosesTheExistingArtifact, "a_failed_put_leaves_the_existing_artifact"),
    expected(Lie::NeverYields, "a_put_can_be_cancelled_whatever_its_source_does"),
    expected(Lie::HoldsTheWholeBody, "a_stream_is_freed_as_it_is_read"),
    expected(Lie::ChecksThenActs, "sixteen_racing_puts_make_one_artifact"),
    expected(Lie::SeesPutsLate, "a_put_is_seen_at_once_by_another_handle"),
    expected(Lie::UnhealthyAfterPut, "an_open_store_is_healthy"),
    expected(Lie::WorksAfterClose, "after_close_every_verb_says_closed"),
    expected(Lie::ClosesOnce, "close_is_idempotent"),
    expected(Lie::LeavesATask, "close_leaves_no_task_behind"),
    expected(Lie::FlagWithoutVerb, "presign_get_is_as_advertised"),
    expected(Lie::VerbWithoutFlag, "presign_get_is_as_advertised"),
    expected(Lie::PresignsTheMissing, "presign_get_is_as_advertised"),
    expected(Lie::UploadFlagWithoutVerb, "presign_put_is_as_advertised"),
    expected(Lie::UploadVerbWithoutFlag, "presign_put_is_as_advertised"),
    expected(Lie::UploadVisibleBeforeCommit, "presign_put_is_as_advertised"),
    expected(Lie::UrlTakesAnyMethod, "a_presigned_download_grants_nothing_else"),
    expected(Lie::UrlTakesAnySignature, "a_presigned_download_grants_nothing_else"),
    expected(Lie::UrlTakesAnyKey, "a_presigned_download_grants_nothing_else"),
    expected(Lie::DownloadsInline, "a_presigned_download_says_what_it_is"),
    expected(Lie::UploadTakesAnyBytes, "presign_put_is_as_advertised"),
    expected(Lie::CommitsUnverifiedBytes, "presign_put_is_as_advertised"),
    expected(Lie::EveryCommitCreates, "racing_commits_make_one_artifact"),
    expected(Lie::SaysDurable, "durable_is_as_advertised"),
    expected(Lie::RemembersHalf, "durable_is_as_advertised"),
    expected(Lie::SaysShared, "shared_is_as_advertised"),
    expected(Lie::SharesWithoutFlag, "shared_is_as_advertised"),
    expected(Lie::SecondOpenIsABackendError, "shared_is_as_advertised"),
    expected(Lie::NumberTooLarge, "the_largest_artifact_is_as_advertised"),
    expected(Lie::ExpiryWithoutEnd, "the_longest_presign_expiry_is_as_advertised"),
    expected(Lie::SignsForLongerThanAsked, "a_presigned_url_expires"),
    expected(Lie::ForgetsEveryTenthPut, "random_histories_agree_with_a_plain_map"),
];
