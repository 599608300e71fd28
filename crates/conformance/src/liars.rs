//! Stores that tell one lie each, so that it shows whether the suite would notice.
//!
//! [`ALL`] pairs every [`Lie`] with the check that must fail it. The base of all of them is an honest store: the inmem
//! driver with presigned URLs of its own ([`Honest`]), so that the presign flags have a store to be proved on.

mod lying;
mod presigner;

use std::fmt;

pub use lying::{Liar, Lie};
pub use presigner::Honest;

/// One lie, and the check that must fail it.
#[derive(Clone, Copy)]
pub struct Catch {
    /// The lie.
    pub lie: Lie,
    /// The name of the check that must fail.
    pub check: &'static str,
}

impl fmt::Debug for Catch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} → {}", self.lie, self.check)
    }
}

const fn caught(lie: Lie, check: &'static str) -> Catch {
    Catch { lie, check }
}

/// Every lie, and the check that must fail it.
pub const ALL: &[Catch] = &[
    caught(Lie::StatIgnoresTask, "stat_finds_nothing_in_a_neighbouring_scope"),
    caught(Lie::GetIgnoresTask, "get_finds_nothing_in_a_neighbouring_scope"),
    caught(Lie::DeleteIgnoresTask, "delete_removes_nothing_in_a_neighbouring_scope"),
    caught(Lie::ListIgnoresTask, "list_shows_nothing_of_a_neighbouring_scope"),
    caught(Lie::PresignIgnoresTask, "presign_signs_nothing_in_a_neighbouring_scope"),
    caught(Lie::CommitIgnoresTask, "commit_upload_takes_nothing_of_a_neighbouring_scope"),
    caught(Lie::FoldsCase, "weird_parts_never_meet"),
    caught(Lie::TaskNamedNoneIsNoTask, "weird_parts_never_meet"),
    caught(Lie::JoinsPartsRaw, "weird_parts_never_meet_across_a_boundary"),
    caught(Lie::TenantByPrefix, "a_listing_covers_exactly_its_scopes"),
    caught(Lie::IgnoresRange, "every_shape_of_range_serves_its_bytes"),
    caught(Lie::ShiftsSuffix, "every_shape_of_range_serves_its_bytes"),
    caught(Lie::DropsLastPiece, "exactly_64_kib_come_back"),
    caught(Lie::FlipsAByte, "five_mib_come_back"),
    caught(Lie::ShortensLongStreams, "a_stream_of_64_mib_comes_back"),
    caught(Lie::ForgetsMetadata, "the_record_says_all_that_was_said"),
    caught(Lie::StopsTextAtNul, "the_record_says_all_that_was_said"),
    caught(Lie::RefusesLargeOptions, "options_of_the_largest_size_come_back"),
    caught(Lie::IdOfTwelveDigits, "digests_that_agree_in_12_digits_stay_apart"),
    caught(Lie::AlwaysCreated, "the_same_bytes_stood_already"),
    caught(Lie::SecondWriterWins, "the_first_writers_options_stay"),
    caught(Lie::AbsenceIsAnError, "a_missing_artifact_is_none"),
    caught(Lie::DeleteAlwaysTrue, "deleting_says_whether_it_was_there"),
    caught(Lie::StaleReadAfterDelete, "a_deleted_artifact_is_gone_from_every_verb"),
    caught(Lie::NeverForgetsAnId, "an_artifact_can_be_put_again_after_its_delete"),
    caught(Lie::IgnoresTagFilter, "every_filter_keeps_what_it_says"),
    caught(Lie::ComparesMediaTypesExactly, "a_media_range_covers_what_it_says"),
    caught(Lie::SizeBoundsExclusive, "every_filter_keeps_what_it_says"),
    caught(Lie::OldestFirst, "newest_come_first_and_ties_go_by_id"),
    caught(Lie::TiesBackwards, "newest_come_first_and_ties_go_by_id"),
    caught(Lie::IgnoresLimit, "a_page_has_no_more_rows_than_its_limit"),
    caught(Lie::SkipsARowBetweenPages, "pages_cover_every_row_once"),
    caught(Lie::RepeatsARowBetweenPages, "pages_cover_every_row_once"),
    caught(Lie::TotalOfThePage, "the_total_counts_every_match"),
    caught(Lie::CursorIsAnOffset, "a_cursor_is_stable_under_puts_and_deletes"),
    caught(Lie::TakesAnyCursor, "an_altered_cursor_is_refused"),
    caught(Lie::CursorOfAnyQuery, "a_cursor_of_another_query_is_refused"),
    caught(Lie::RecordBeforeBytes, "nothing_is_visible_before_the_end"),
    caught(Lie::CutsAtTheLimit, "a_body_over_its_limit_leaves_nothing"),
    caught(Lie::LimitOffByOne, "a_body_of_exactly_its_limit_is_stored"),
    caught(Lie::IgnoresDigest, "a_wrong_digest_leaves_nothing"),
    caught(Lie::KeepsWhatCame, "a_failing_source_leaves_nothing"),
    caught(Lie::IgnoresLength, "a_wrong_length_leaves_nothing"),
    caught(Lie::LeaksATempFile, "a_failing_source_leaves_nothing"),
    caught(Lie::LeaksWhenDropped, "a_dropped_put_leaves_nothing"),
    caught(Lie::LosesTheStandingOne, "a_failed_put_leaves_the_standing_artifact"),
    caught(Lie::NeverGivesWay, "a_put_can_be_given_up_whatever_its_source_does"),
    caught(Lie::HoldsTheWholeBody, "a_stream_is_let_go_as_it_flows"),
    caught(Lie::LooksThenLeaps, "sixteen_racing_puts_make_one_artifact"),
    caught(Lie::SeesPutsLate, "a_put_is_seen_at_once_by_another_handle"),
    caught(Lie::SickWhenUsed, "an_open_store_is_healthy"),
    caught(Lie::WorksAfterClose, "after_close_every_verb_says_closed"),
    caught(Lie::ClosesOnce, "close_is_idempotent"),
    caught(Lie::LeavesATask, "close_leaves_no_task_behind"),
    caught(Lie::FlagWithoutVerb, "presign_get_is_as_advertised"),
    caught(Lie::VerbWithoutFlag, "presign_get_is_as_advertised"),
    caught(Lie::PresignsTheMissing, "presign_get_is_as_advertised"),
    caught(Lie::UploadFlagWithoutVerb, "presign_put_is_as_advertised"),
    caught(Lie::UploadVerbWithoutFlag, "presign_put_is_as_advertised"),
    caught(Lie::UploadVisibleBeforeCommit, "presign_put_is_as_advertised"),
    caught(Lie::UrlTakesAnyMethod, "a_presigned_download_grants_nothing_else"),
    caught(Lie::UrlTakesAnySignature, "a_presigned_download_grants_nothing_else"),
    caught(Lie::UrlTakesAnyKey, "a_presigned_download_grants_nothing_else"),
    caught(Lie::DownloadsInline, "a_presigned_download_says_what_it_is"),
    caught(Lie::UploadTakesAnyBytes, "presign_put_is_as_advertised"),
    caught(Lie::CommitsWhateverArrived, "presign_put_is_as_advertised"),
    caught(Lie::EveryCommitCreates, "racing_commits_make_one_artifact"),
    caught(Lie::SaysDurable, "durable_is_as_advertised"),
    caught(Lie::RemembersHalf, "durable_is_as_advertised"),
    caught(Lie::SaysShared, "shared_is_as_advertised"),
    caught(Lie::SharesInSilence, "shared_is_as_advertised"),
    caught(Lie::NumberTooLarge, "the_largest_artifact_is_as_advertised"),
    caught(Lie::ExpiryWithoutEnd, "the_longest_presign_expiry_is_as_advertised"),
    caught(Lie::SignsForLongerThanAsked, "a_presigned_url_expires"),
    caught(Lie::ForgetsEveryTenthPut, "random_histories_agree_with_a_plain_map"),
];
