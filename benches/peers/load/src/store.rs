//! What is measured: [`Store`], and the form in which a program holds stores of different types.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::case::{Case, Rows};
use crate::measure::{Sample, measure};

/// An error with a message for people.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The number of rows of a page.
pub const PAGE_ROWS: usize = 100;

/// Whose code a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// artifact-store.
    Ours,
    /// Another library, as its users call it.
    Library,
    /// Code written for this comparison, which does no more than the operation: what the storage can do.
    Raw,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Library => "library",
            Self::Raw => "raw",
        }
    }
}

/// The error of a verb that a store does not have. [`Store::supports`] says so before.
///
/// # Errors
/// Always.
pub fn unsupported<T>() -> Result<T, Error> {
    Err("this store does not have the operation".into())
}

/// A store in a benchmark.
pub trait Store: Send + Sync + 'static {
    /// What names a body that was put.
    type Key: Clone + Send + Sync + 'static;

    /// The name in the report.
    fn name(&self) -> &'static str;

    /// Whose code it is.
    fn kind(&self) -> Kind;

    /// Whether it has this operation, with the backend's durability.
    fn supports(&self, case: &Case) -> bool;

    /// Stores a body under a name that is not used yet.
    fn put(&self, name: String, body: Bytes) -> impl Future<Output = Result<Self::Key, Error>> + Send;

    /// Reads a body, whole or a range, and returns the number of bytes.
    fn get(
        &self,
        key: &Self::Key,
        range: Option<Range<u64>>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Returns the size of a body.
    fn stat(&self, _key: &Self::Key) -> impl Future<Output = Result<u64, Error>> + Send {
        async { unsupported() }
    }

    /// Deletes a body.
    fn delete(&self, _key: &Self::Key) -> impl Future<Output = Result<(), Error>> + Send {
        async { unsupported() }
    }

    /// Signs a URL.
    fn presign(&self, _key: &Self::Key) -> impl Future<Output = Result<(), Error>> + Send {
        async { unsupported() }
    }

    /// Prepares a listing of `rows` rows, unless it exists.
    fn fill(&self, _rows: u64) -> impl Future<Output = Result<(), Error>> + Send {
        async { unsupported() }
    }

    /// Reads a page of the listing with `rows` rows, and returns the number of its rows.
    fn page(&self, _rows: u64, _page: Rows) -> impl Future<Output = Result<usize, Error>> + Send {
        async { unsupported() }
    }

    /// The CPU time of another process that does the work; `None` if this process does it.
    fn server_cpu(&self) -> Option<Duration> {
        None
    }

    /// Ends background tasks, and deletes what is not in the directory of the program.
    fn close(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }
}

/// A [`Store`] of any type.
pub trait Measured: Send + Sync {
    /// As [`Store::name`].
    fn name(&self) -> &'static str;
    /// As [`Store::kind`].
    fn kind(&self) -> Kind;
    /// As [`Store::supports`].
    fn supports(&self, case: &Case) -> bool;
    /// Measures `case` for about `target`.
    fn measure<'a>(&'a self, case: &'a Case, target: Duration) -> BoxFuture<'a, Result<Sample, Error>>;
    /// As [`Store::close`].
    fn close(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// Boxes a store.
pub fn measured(store: impl Store) -> Box<dyn Measured> {
    Box::new(Held(Arc::new(store)))
}

struct Held<S>(Arc<S>);

impl<S: Store> Measured for Held<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn kind(&self) -> Kind {
        self.0.kind()
    }

    fn supports(&self, case: &Case) -> bool {
        self.0.supports(case)
    }

    fn measure<'a>(&'a self, case: &'a Case, target: Duration) -> BoxFuture<'a, Result<Sample, Error>> {
        Box::pin(measure(&self.0, case, target))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.0.close())
    }
}
