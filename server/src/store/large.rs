//! Large values: each a reference-counted block of its own, so that no lock is held while one is copied or
//! freed. A reader clones the reference under the lock and copies outside; a writer builds the block before it
//! takes the lock, and drops the one it displaced after.

use std::ops::Deref;
use std::sync::Arc;

use crate::memory::{Charge, MemoryAccount, MemoryKind, OutOfMemory, allocated_bytes};

/// Bytes of a large value, and their charge. The charge ends when the last reader lets go.
#[derive(Debug)]
pub struct LargeValue {
    /// The value.
    bytes: Box<[u8]>,
    /// The block's price and that of its reference counts.
    _charge: Charge,
}

impl LargeValue {
    /// Copies a value into a block of its own. Cost: one allocation and one copy; not for use under a lock.
    ///
    /// # Errors
    /// [`OutOfMemory`]: the limit is reached; nothing was allocated.
    pub fn copy_of(bytes: &[u8], memory: &Arc<MemoryAccount>) -> Result<Arc<LargeValue>, OutOfMemory> {
        Self::concat(&[bytes], memory)
    }

    /// Copies `parts`, one behind the other, into a block of its own. Cost and errors as [`LargeValue::copy_of`].
    ///
    /// # Errors
    /// [`OutOfMemory`]: the limit is reached; nothing was allocated.
    pub fn concat(parts: &[&[u8]], memory: &Arc<MemoryAccount>) -> Result<Arc<LargeValue>, OutOfMemory> {
        let price = price_of(parts.iter().map(|part| part.len()).sum());
        let charge = Charge::try_new(Arc::clone(memory), MemoryKind::LargeValues, price)?;
        Ok(Arc::new(LargeValue { bytes: parts.concat().into(), _charge: charge }))
    }

    /// As [`LargeValue::copy_of`], past the memory limit if it must be.
    #[must_use]
    pub(super) fn copy_over_limit(bytes: &[u8], memory: &Arc<MemoryAccount>) -> Arc<LargeValue> {
        let mut charge = Charge::empty(Arc::clone(memory), MemoryKind::LargeValues);
        charge.grow_over_limit(price_of(bytes.len()));
        Arc::new(LargeValue { bytes: bytes.into(), _charge: charge })
    }

    /// The value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a block of so many bytes costs, with its reference counts.
fn price_of(bytes: usize) -> u64 {
    allocated_bytes(bytes) + allocated_bytes(size_of::<LargeValue>() + 16)
}

impl Deref for LargeValue {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
