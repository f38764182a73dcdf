//! An input as a source of choices. Past its end all choices are 0, so that any bytes are an input, and a byte
//! changed in the middle leaves the choices around it as they were.

/// The bytes of an input that have not been used yet.
#[derive(Clone, Debug)]
pub struct Draw<'a> {
    rest: &'a [u8],
}

impl<'a> Draw<'a> {
    /// Choices out of `input`.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Draw<'a> {
        Draw { rest: input }
    }

    /// Whether all has been used.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// The next `count` bytes, fewer at the end.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// The next four bytes as a number.
    pub fn number(&mut self) -> u32 {
        (0..4).fold(0, |number, _| number << 8 | u32::from(self.byte()))
    }

    /// One of `choices`, by one byte.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'b, T>(&mut self, choices: &'b [T]) -> &'b T {
        &choices[usize::from(self.byte()) % choices.len()]
    }

    /// Everything that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_used_up_and_then_all_is_zero() {
        let mut draw = Draw::new(&[7, 1, 2, 3, 4, 5, 6]);
        assert_eq!((draw.byte(), draw.number(), *draw.pick(&[10, 20, 30])), (7, 0x0102_0304, 30));
        assert_eq!(draw.clone().rest(), [6]);
        assert_eq!((draw.bytes(9), draw.is_empty()), (&[6][..], true));
        assert_eq!((draw.byte(), draw.number(), *draw.pick(&[10, 20, 30])), (0, 0, 10));
    }
}
