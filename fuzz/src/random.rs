//! Choices made from the fuzzer's bytes, with the interface of `tests/differential/random.rs`, so that the fuzzer drives
//! the generators of the differential tests: a changed byte changes one choice, and the rest stays.

/// Choices while there are bytes; then always the last possible one, so that generation ends.
#[derive(Clone, Debug)]
pub(crate) struct Random<'b>(&'b [u8]);

impl<'b> Random<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Random<'b> {
        Random(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let Some(low) = self.byte() else { return end - 1 };
        let number = if end > 256 {
            usize::from(low) << 8 | usize::from(self.byte().unwrap_or(0))
        } else {
            usize::from(low)
        };
        number % end
    }

    /// A number of the range, its end excluded.
    pub(crate) fn within(&mut self, range: std::ops::Range<usize>) -> usize {
        range.start + self.below(range.len())
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Up to `most` bytes, as text.
    pub(crate) fn text(&mut self, most: usize) -> String {
        let length = self.below(most + 1).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}
