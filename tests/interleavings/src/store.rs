//! What the included files take from the store: hints to the processor, which change no order.

/// In the place of the store's own.
pub(crate) mod prefetch {
    /// Asks for nothing.
    pub(crate) fn prefetch_items<T>(_: &[T], _: usize) {}
}
