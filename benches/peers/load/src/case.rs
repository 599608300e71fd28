//! What is measured: backends, and the cases of each.
//!
//! A case has a name of words, such as `fs synced put 1KiB x16`. Patterns select cases by these words.

use std::fmt;

/// 2^10 bytes.
pub const KIB: u64 = 1 << 10;
/// 2^20 bytes.
pub const MIB: u64 = 1 << 20;
/// The size of the range that is read from a large body.
const RANGE_BYTES: u64 = 64 * KIB;
/// One row in this number has the rare tag.
pub const RARE_EVERY: u64 = 10_000;

/// A storage with a durability. What is compared is compared on one backend.
#[derive(Debug)]
pub struct Backend {
    /// The first words of its cases' names.
    pub name: &'static str,
    /// Whether puts are measured with a SHA-256 on every side, too.
    hashed: bool,
    /// Whether URLs are presigned.
    presigns: bool,
    /// The numbers of rows that pages are read from.
    rows: &'static [u64],
    /// The kind of its cases.
    works: Works,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Works {
    Store,
    Server,
    Machine,
}

const fn store(name: &'static str, hashed: bool, presigns: bool, rows: &'static [u64]) -> Backend {
    Backend { name, hashed, presigns, rows, works: Works::Store }
}

/// All backends, in the order of the report.
pub const BACKENDS: &[Backend] = &[
    Backend { works: Works::Machine, ..store("machine", false, false, &[]) },
    store("inmem", true, false, &[1_000, 100_000, 1_000_000]),
    store("fs synced", true, false, &[]),
    // A page of a directory costs the same with either policy. 10^6 files are more than `max_scan`.
    store("fs unsynced", true, false, &[1_000, 100_000]),
    store("sqlite", false, false, &[1_000, 100_000, 1_000_000]),
    store("postgres", false, false, &[1_000, 100_000, 1_000_000]),
    // s3s-fs reads its whole bucket for each page of keys.
    store("s3 s3s-fs", false, false, &[1_000]),
    store("s3 null", false, true, &[1_000]),
    Backend { works: Works::Server, ..store("http", false, false, &[]) },
];

/// Which rows of a listing a page of 100 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rows {
    /// The newest rows.
    First,
    /// The rows after the newest tenth.
    Deep,
    /// Rows of one of four media types.
    MediaType,
    /// Rows of one of four sources.
    Source,
    /// Rows of at least a size, which half of the rows have.
    Size,
    /// Rows of the older half.
    Time,
    /// Rows with a tag that one in ten has.
    Tag,
    /// Rows with a tag that one in 10^4 has.
    RareTag,
    /// The newest rows, and the number of all rows.
    Total,
}

impl Rows {
    const ALL: [(Self, &'static str); 9] = [
        (Self::First, "first"),
        (Self::Deep, "deep"),
        (Self::MediaType, "media-type"),
        (Self::Source, "source"),
        (Self::Size, "size"),
        (Self::Time, "time"),
        (Self::Tag, "tag"),
        (Self::RareTag, "rare-tag"),
        (Self::Total, "total"),
    ];
}

/// The operation that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Put a body that is new.
    Put,
    /// The same with the SHA-256 of the body, which another library does not compute itself.
    PutHashed,
    /// Read a whole body.
    Get,
    /// Read 64 KiB of a body.
    Range,
    /// Read the size of a body.
    Stat,
    /// Delete a body.
    Delete,
    /// Sign a URL that downloads a body.
    Presign,
    /// Read a page of 100 rows.
    List(Rows),
    /// Of the machine: hash a buffer.
    Hash,
    /// Of the machine: create and write a file.
    WriteFile,
    /// Of the machine: send a byte over loopback TCP and receive one.
    RoundTrip,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::PutHashed => "put hashed",
            Self::Get => "get",
            Self::Range => "range 64KiB of",
            Self::Stat => "stat",
            Self::Delete => "delete",
            Self::Presign => "presign",
            Self::List(rows) => {
                Rows::ALL.iter().find(|(known, _)| *known == rows).map_or("", |(_, name)| *name)
            }
            Self::Hash => "hash",
            Self::WriteFile => "write file",
            Self::RoundTrip => "round trip",
        }
    }
}

/// One measurement: an operation, on bodies of a size or a number of rows, by a number of tasks.
#[derive(Debug, Clone)]
pub struct Case {
    /// The backend's name.
    pub backend: &'static str,
    /// The operation.
    pub work: Work,
    /// The size of each body in bytes. 0 for listings.
    pub size: u64,
    /// The number of rows of the listing. 0 for other operations.
    pub rows: u64,
    /// The number of tasks that call at once.
    pub tasks: usize,
}

impl Case {
    /// The bytes that one operation moves.
    pub fn bytes(&self) -> u64 {
        match self.work {
            Work::Put | Work::PutHashed | Work::Get | Work::Hash | Work::WriteFile => self.size,
            Work::Range => RANGE_BYTES.min(self.size),
            _ => 0,
        }
    }

    /// Whether a pattern selects this case: all words of one of its comma-separated alternatives are words of the name.
    /// An empty pattern selects every case.
    pub fn is_selected(&self, pattern: &str) -> bool {
        let name = self.to_string();
        let has = |word: &str| name.split_whitespace().any(|known| known == word);
        pattern.trim().is_empty() || pattern.split(',').any(|words| words.split_whitespace().all(has))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, work, size, rows, tasks } = self;
        match work {
            Work::List(_) => write!(f, "{backend} list {} of {rows} x{tasks}", work.name()),
            _ => write!(f, "{backend} {} {} x{tasks}", work.name(), size_name(*size)),
        }
    }
}

/// `1KiB`, `64MiB`.
pub fn size_name(bytes: u64) -> String {
    match bytes {
        0..KIB => format!("{bytes}B"),
        KIB..MIB => format!("{}KiB", bytes / KIB),
        _ => format!("{}MiB", bytes / MIB),
    }
}

/// The cases that one process measures with the same open stores: the pages of a backend, or everything else.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The backend.
    pub backend: &'static Backend,
    /// Whether the group has the pages.
    pub lists: bool,
}

impl Group {
    /// All groups, in the order of the report.
    pub fn all() -> impl Iterator<Item = Self> {
        BACKENDS.iter().flat_map(|backend| [false, true].map(|lists| Self { backend, lists }))
    }

    /// The cases. A quick run has no 32 KiB and 64 MiB bodies and only pages of 1000 rows.
    pub fn cases(self, quick: bool) -> Vec<Case> {
        let backend = self.backend;
        let case = |work, size, rows, tasks| Case { backend: backend.name, work, size, rows, tasks };
        let mut cases = Vec::new();
        if self.lists {
            for rows in backend.rows.iter().copied().filter(|rows| !quick || *rows <= 1_000) {
                cases.extend(Rows::ALL.map(|(page, _)| case(Work::List(page), 0, rows, 1)));
            }
            return cases;
        }
        let sizes: &[u64] = if quick { &[KIB, MIB] } else { &[KIB, 32 * KIB, MIB, 64 * MIB] };
        let both = |work, size| [1, 16].map(|tasks| case(work, size, 0, tasks));
        match backend.works {
            Works::Machine => {
                cases.extend(sizes.iter().map(|size| case(Work::Hash, *size, 0, 1)));
                cases.extend(sizes.iter().map(|size| case(Work::WriteFile, *size, 0, 1)));
                cases.extend(both(Work::RoundTrip, 1));
            }
            Works::Server => {
                cases.extend(both(Work::Get, KIB));
                cases.extend(both(Work::Put, MIB));
            }
            Works::Store => {
                let works: &[Work] = if backend.hashed {
                    &[Work::Put, Work::PutHashed, Work::Get]
                } else {
                    &[Work::Put, Work::Get]
                };
                for work in works {
                    for size in sizes {
                        // Sixteen large bodies at once measure the memory of the machine.
                        cases.extend(
                            both(*work, *size).into_iter().filter(|case| *size <= MIB || case.tasks == 1),
                        );
                    }
                }
                let large = if quick { 8 * MIB } else { 64 * MIB };
                cases.extend(both(Work::Range, large));
                cases.extend(both(Work::Stat, KIB));
                cases.extend(both(Work::Delete, KIB));
                if backend.presigns {
                    cases.push(case(Work::Presign, KIB, 0, 1));
                }
            }
        }
        cases
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.backend.name, if self.lists { " list" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Vec<Case> {
        Group::all().flat_map(|group| group.cases(false)).filter(|case| case.is_selected(name)).collect()
    }

    #[test]
    fn no_two_cases_have_the_same_name() {
        let mut names: Vec<String> = named("").iter().map(ToString::to_string).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_pattern_selects_by_whole_words_in_any_alternative() {
        assert_eq!(named("inmem put 1KiB x1").len(), 2, "hashed and not");
        assert_eq!(named("inmem get 1KiB x1, sqlite get 1KiB x1").len(), 2);
        assert!(named("inmem ge").is_empty());
    }
}
