//! The declaration of a query parameter or a header. The parser of queries and the OpenAPI document use the same
//! declarations, so both have the same query parameters.

/// A query parameter or a header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestField {
    /// The name. The name of a header is in lower case.
    pub(crate) name: &'static str,
    /// Whether the field may be sent more than once.
    pub(crate) is_repeatable: bool,
    /// The kind of the field's value.
    pub(crate) value_type: ValueType,
    /// The description for the OpenAPI document.
    pub(crate) description: &'static str,
}

/// The kind of a [`RequestField`]'s value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    /// Any text.
    Text,
    /// A part of a scope.
    ScopePart,
    /// A namespace.
    Namespace,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Digests in the form of RFC 9530.
    Digests,
}

impl RequestField {
    /// Declares a field that may be sent once.
    pub(crate) const fn single(name: &'static str, value_type: ValueType, description: &'static str) -> Self {
        Self { name, is_repeatable: false, value_type, description }
    }

    /// Declares a field that may be sent more than once.
    pub(crate) const fn repeatable(
        name: &'static str,
        value_type: ValueType,
        description: &'static str,
    ) -> Self {
        Self { name, is_repeatable: true, value_type, description }
    }
}
