//! Stand-ins: numbered texts, each of which stands for the texts of several pods, so that one render is valid for all.
//!
//! A result is valid for all of them if it does not depend on the content: a function that copies a text, or that has
//! the same effect on everything a stand-in may stand for, leaves it alone, and any other one is recorded.
//!
//! A stand-in that reaches the output stands for 1 to [`LONGEST`] characters out of `a-z`, `0-9`, `-` and `.`; the
//! first and the last are letters or digits. A stand-in that does not reach the output stands for any text with a
//! letter or digit in it.

use std::ops::BitOr;

/// The first character of a stand-in. A private use character, so that it only occurs in real text on purpose.
pub const STAND_IN: char = '\u{E0F0}';
/// The last character of a stand-in, after its number.
pub const STAND_IN_END: char = '\u{E0F1}';
/// The longest text for which a stand-in in the output stands, in bytes: a DNS label.
pub const LONGEST: usize = 63;

/// A set of stand-ins, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandIns(u32);

impl StandIns {
    /// The empty set.
    pub const NONE: StandIns = StandIns(0);
    /// The set of all.
    pub const ALL: StandIns = StandIns(u32::MAX);
    /// Numbers are below this.
    pub const MOST: usize = u32::BITS as usize;

    /// The stand-ins in a text; all of them if one in it has no valid number.
    pub fn of(text: &str) -> StandIns {
        // The first byte of the character in UTF-8 is rare.
        if !text.as_bytes().contains(&0xee) {
            return StandIns::NONE;
        }
        let mut found = StandIns::NONE;
        for after in text.split(STAND_IN).skip(1) {
            let number = after.split_once(STAND_IN_END).and_then(|(number, _)| number.parse().ok());
            let one = number.map(StandIns::one).filter(|one| !one.is_empty());
            found = found | one.unwrap_or(StandIns::ALL);
        }
        found
    }

    /// The set of one stand-in; empty if there is none with this number.
    pub fn one(number: usize) -> StandIns {
        let shift = u32::try_from(number).ok();
        StandIns(shift.and_then(|shift| 1_u32.checked_shl(shift)).unwrap_or(0))
    }

    /// Whether it contains none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it contains all of another set.
    pub fn contains(self, other: StandIns) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for StandIns {
    type Output = StandIns;

    fn bitor(self, other: StandIns) -> StandIns {
        StandIns(self.0 | other.0)
    }
}

/// Appends the stand-in with a number.
pub fn push_stand_in(out: &mut String, number: usize) {
    out.push(STAND_IN);
    out.push_str(&number.to_string());
    out.push(STAND_IN_END);
}

/// The largest number of bytes of any text for which this one stands.
pub(crate) fn longest(text: &str) -> usize {
    // Without a stand-in, every length is that of the text.
    let mut after = text.split(STAND_IN);
    let before = after.next().unwrap_or_default().len();
    after.fold(before, |sum, after| {
        let rest = after.split_once(STAND_IN_END).map_or(after, |(_, rest)| rest);
        sum + LONGEST + rest.len()
    })
}

/// Whether removing these characters from the ends of a text has the same effect on everything it stands for: a
/// stand-in's text begins and ends with a letter or digit.
pub(crate) fn keeps_stand_ins(trimmed: &str) -> bool {
    !trimmed.chars().any(|c| c.is_alphanumeric() || matches!(c, STAND_IN | STAND_IN_END))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_ins_of_a_text_are_found_by_number() {
        let mut text = String::from("a-");
        push_stand_in(&mut text, 3);
        push_stand_in(&mut text, 31);
        assert_eq!(StandIns::of(&text), StandIns::one(3) | StandIns::one(31));
        assert_eq!(StandIns::of("web"), StandIns::NONE);
        for odd in ["\u{E0F0}", "\u{E0F0}x\u{E0F1}", "\u{E0F0}1", "\u{E0F0}32\u{E0F1}"] {
            assert!(StandIns::of(odd).contains(StandIns::one(7)), "{odd}");
        }
        assert!(StandIns::one(32).is_empty());
    }

    #[test]
    fn a_text_is_as_long_as_the_longest_it_stands_for() {
        let mut text = String::from("web-");
        push_stand_in(&mut text, 0);
        text.push_str("-x");
        assert_eq!(longest(&text), "web--x".len() + LONGEST);
        assert_eq!(longest("web"), 3);
    }
}
