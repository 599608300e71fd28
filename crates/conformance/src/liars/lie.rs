//! The names of the lies: [`Lie`].

/// The lie of a liar. The name says what the store does wrong. If the name is not clear enough, a comment explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Lie {
    StatIgnoresTask,
    GetIgnoresTask,
    DeleteIgnoresTask,
    ListIgnoresTask,
    PresignIgnoresTask,
    CommitIgnoresTask,
    FoldsCase,
    /// A scope without a task is stored as the task `none`.
    TaskNamedNoneIsNoTask,
    /// The parts of a scope are joined with `/`, and a `/` in a part is not escaped.
    JoinsPartsRaw,
    /// A listing of a tenant also shows every tenant whose name begins with the same text.
    TenantByPrefix,
    IgnoresRange,
    /// A request for the last n bytes gets the bytes from n on.
    ShiftsSuffix,
    DropsLastKib,
    FlipsAByte,
    /// A read of a part of an artifact has an altered byte, and a read of all bytes has none.
    FlipsAByteOfARange,
    ShortensLongStreams,
    ForgetsMetadata,
    StopsTextAtNul,
    RefusesLargeOptions,
    /// Two ids are treated as equal if the first 12 digits of their digests are equal.
    IdOfTwelveDigits,
    AlwaysCreated,
    SecondWriterWins,
    AbsenceIsAnError,
    DeleteAlwaysTrue,
    StaleReadAfterDelete,
    /// A put after a delete returns the deleted record and stores nothing.
    NeverForgetsAnId,
    IgnoresTagFilter,
    ComparesMediaTypesExactly,
    /// The limits `min_bytes` and `max_bytes` of a filter exclude artifacts of exactly this size.
    SizeBoundsExclusive,
    OldestFirst,
    /// Rows with the same time are ordered by descending id.
    TiesBackwards,
    IgnoresLimit,
    SkipsARowBetweenPages,
    RepeatsARowBetweenPages,
    /// The total counts only the rows of the page.
    TotalOfThePage,
    /// A cursor is a number of rows, so puts and deletes between two pages move the next page.
    CursorIsAnOffset,
    TakesAnyCursor,
    CursorOfAnyQuery,
    /// The first chunk is visible as an artifact before the body ends.
    RecordBeforeBytes,
    /// If a body is too large, the chunks that were read before the limit are stored.
    CutsAtTheLimit,
    /// A body with exactly the largest allowed size is refused.
    LimitOffByOne,
    IgnoresDigest,
    /// If a body fails, the bytes that were read before are stored as an artifact.
    KeepsPartialBody,
    IgnoresLength,
    /// A failed put leaves residue.
    LeaksATempFile,
    /// A dropped put leaves residue.
    LeaksWhenDropped,
    /// A put that is dropped during its commit leaves a record whose bytes are gone.
    DestroysADroppedCommit,
    /// If a body fails, all artifacts of its scope are deleted.
    LosesTheExistingArtifact,
    NeverYields,
    HoldsTheWholeBody,
    /// A put first checks whether the artifact exists, and stores it a moment later. So each of several racing puts
    /// creates the artifact.
    ChecksThenActs,
    /// The first `stat` after a put does not find the artifact.
    SeesPutsLate,
    UnhealthyAfterPut,
    WorksAfterClose,
    /// A second `close` returns an error.
    ClosesOnce,
    LeavesATask,
    /// Advertises `presign_get`, but refuses to presign a download.
    FlagWithoutVerb,
    /// Presigns a download, but does not advertise `presign_get`.
    VerbWithoutFlag,
    PresignsTheMissing,
    /// Advertises `presign_put`, but refuses to presign an upload.
    UploadFlagWithoutVerb,
    /// Presigns an upload, but does not advertise `presign_put`.
    UploadVerbWithoutFlag,
    UploadVisibleBeforeCommit,
    UrlTakesAnyMethod,
    UrlTakesAnySignature,
    /// The signature of one URL is accepted for every other URL.
    UrlTakesAnyKey,
    DownloadsInline,
    UploadTakesAnyBytes,
    CommitsUnverifiedBytes,
    EveryCommitCreates,
    /// Advertises `durable`, but every open creates an empty store.
    SaysDurable,
    /// After a reopening, records are listed although their bytes do not exist.
    RemembersHalf,
    /// Advertises `shared`, but every open creates another store.
    SaysShared,
    /// A second open shares the artifacts, but the store does not advertise `shared`.
    SharesWithoutFlag,
    SecondOpenIsABackendError,
    /// The advertised largest artifact is twice the real limit.
    NumberTooLarge,
    /// An expiry above the advertised longest expiry is accepted.
    ExpiryWithoutEnd,
    SignsForLongerThanAsked,
    ForgetsEveryTenthPut,
}
