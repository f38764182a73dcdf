//! What a failed call says about its effect, as the client's own error says it.

/// Whether state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was changed, and nothing will be.
    NotDone,
    /// It may have been.
    Unknown,
}
