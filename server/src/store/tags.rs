//! Comparing sixteen tags at once.

#![allow(unsafe_code)]

/// Tags compared together.
pub(super) const TAGS: usize = 16;

/// A bit for each of `tags` that is `tag`, lowest first.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn equal_to(tags: &[u8; TAGS], tag: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let both = u128::from_le_bytes(*tags);
    let (high, low) = ((both >> u64::BITS) as i64, both as i64);
    // SAFETY: these instructions are SSE2, which every x86-64 processor has, and touch registers only.
    unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_set_epi64x(high, low), _mm_set1_epi8(tag as i8))) as u32 }
}

/// A bit for each of `tags` that is `tag`, lowest first.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn equal_to(tags: &[u8; TAGS], tag: u8) -> u32 {
    equal_to_in_words(tags, tag)
}

/// The same with plain arithmetic, eight tags a word.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_to_in_words(tags: &[u8; TAGS], tag: u8) -> u32 {
    const LOW_BITS: u64 = u64::from_le_bytes([0x7F; 8]);
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // Moves bit 0 of byte n to bit 56 + n; no two of them meet, so nothing is carried.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let both = u128::from_le_bytes(*tags);
    [both as u64, (both >> u64::BITS) as u64].into_iter().rev().fold(0, |found, word| {
        let differs = word ^ (ONES * u64::from(tag));
        // Bit 7 of each byte: set if any of the byte's bits is.
        let is_different = ((differs & LOW_BITS) + LOW_BITS) | differs;
        let is_equal = !is_different >> 7 & ONES;
        found << 8 | (is_equal.wrapping_mul(GATHER) >> 56) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_what_a_loop_finds() {
        let mut random = 5u64;
        for _ in 0..if cfg!(miri) { 200 } else { 50_000 } {
            let tags = std::array::from_fn(|_| {
                random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                [0, 1, 0x7F, 0x80, 0x81, 0xFF, (random >> 40) as u8, 2][(random >> 60) as usize % 8]
            });
            for tag in [0, 1, 2, 0x7F, 0x80, 0x81, 0xFF, tags[3]] {
                let expected: u32 = (0..TAGS).map(|lane| u32::from(tags[lane] == tag) << lane).sum();
                assert_eq!(equal_to(&tags, tag), expected, "{tag} in {tags:?}");
                assert_eq!(equal_to_in_words(&tags, tag), expected, "{tag} in {tags:?}");
            }
        }
    }
}
