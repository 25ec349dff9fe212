//! The names by which this crate's own types ask the deserializer for what serde has no words for.

/// A section that may be off: a tuple of whether it is on and, if anything is given, its content.
pub(crate) const OPTIONAL: &str = "$millrace::Optional";

/// The same where a bare null leaves it off.
pub(crate) const GIVEN_ONLY: &str = "$millrace::GivenOnly";

/// Several structs whose keys stand side by side in one section: a tuple of them.
pub const PARTS: &str = "$millrace::Parts";

/// A value and where it was written: a tuple of the span's seven numbers and the value.
pub(crate) const SPANNED: &str = "$millrace::Spanned";

/// A value whose text must not be shown.
pub(crate) const SECRET: &str = "$millrace::Secret";

/// A value that wants to see whichever scalar was written.
pub(crate) const SCALAR: &str = "$millrace::Scalar";

/// A key that is better left out where a configuration is written: nothing can be said in it yet.
pub const ABSENT: &str = "$millrace::Absent";
