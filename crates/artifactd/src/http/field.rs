//! What a route declares of a request beside its body: query parameters and headers, as data. Reading a request and describing it
//! use the same rows, so that neither knows a name that the other does not.

/// A query parameter or a header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name, a header's in lower case.
    pub(crate) name: &'static str,
    /// Whether it may stand more than once.
    pub(crate) many: bool,
    /// What a value is.
    pub(crate) takes: Takes,
    /// What it does, in one sentence.
    pub(crate) about: &'static str,
}

/// What the value of a [`Field`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// A text.
    Text,
    /// Part of a scope.
    Part,
    /// A namespace.
    Namespace,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Digests of RFC 9530.
    Digests,
}

impl Field {
    /// A field that stands once.
    pub(crate) const fn once(name: &'static str, takes: Takes, about: &'static str) -> Self {
        Self { name, many: false, takes, about }
    }

    /// A field that may be repeated.
    pub(crate) const fn many(name: &'static str, takes: Takes, about: &'static str) -> Self {
        Self { name, many: true, takes, about }
    }
}
