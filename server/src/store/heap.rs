//! Vectors whose capacity is charged: the charge is always the allocator's price of the capacity, so it can be
//! computed again from the vector, by the code that shrinks it and by the checks.

use crate::memory::{Charge, OutOfMemory, allocated_bytes};

/// Whether a charge must fit under the memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// It must: the step adds content.
    Hold,
    /// It need not: the step ends in giving back more.
    Exceed,
}

/// Charges `bytes`.
///
/// # Errors
/// [`OutOfMemory`] under [`Limit::Hold`] only; nothing was charged.
pub(super) fn charge(charge: &mut Charge, bytes: u64, limit: Limit) -> Result<(), OutOfMemory> {
    match limit {
        Limit::Hold => charge.try_grow(bytes),
        Limit::Exceed => {
            charge.grow_over_limit(bytes);
            Ok(())
        }
    }
}

/// What a vector's block costs.
pub(super) fn price_of<T>(vec: &Vec<T>) -> u64 {
    allocated_bytes(vec.capacity() * size_of::<T>())
}

/// Makes room for `capacity` items in all, no fewer than now. Cost: may move the content.
///
/// # Errors
/// [`OutOfMemory`] under [`Limit::Hold`] only; nothing changed.
pub(super) fn grow<T>(
    vec: &mut Vec<T>,
    capacity: usize,
    account: &mut Charge,
    limit: Limit,
) -> Result<(), OutOfMemory> {
    debug_assert!(capacity >= vec.capacity());
    let before = price_of(vec);
    charge(account, allocated_bytes(capacity * size_of::<T>()) - before, limit)?;
    vec.reserve_exact(capacity - vec.len());
    debug_assert_eq!(vec.capacity(), capacity, "the global allocator gives what is asked for");
    Ok(())
}

/// Gives back room beyond `capacity` items, but never content.
pub(super) fn shrink<T>(vec: &mut Vec<T>, capacity: usize, account: &mut Charge) {
    let before = price_of(vec);
    vec.shrink_to(capacity);
    account.shrink_by(before - price_of(vec));
}
