//! What the server needs to know about its own certificate: when it is valid. Pure.
//!
//! Reads just enough DER to get there; whether the certificate is otherwise sound is for those who verify it.

use std::fmt;

/// When a certificate is valid, in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Start.
    pub not_before: i64,
    /// End.
    pub not_after: i64,
}

impl Validity {
    /// Says why the certificate is not valid at a time, if it is not.
    pub fn problem(&self, now: i64) -> Option<Problem> {
        if now < self.not_before {
            Some(Problem::NotYet { seconds: self.not_before - now })
        } else if now > self.not_after {
            Some(Problem::Expired { seconds: now - self.not_after })
        } else {
            None
        }
    }
}

/// Why a certificate is not valid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It will be.
    NotYet {
        /// Seconds to go.
        seconds: i64,
    },
    /// It was.
    Expired {
        /// Seconds since.
        seconds: i64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NotYet { seconds } => {
                write!(out, "the certificate becomes valid in {seconds} s (is the clock right?)")
            }
            Problem::Expired { seconds } => write!(out, "the certificate expired {seconds} s ago"),
        }
    }
}

/// The certificate is not X.509, or its validity is not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot read the validity of the certificate; accepted is X.509 in DER")]
pub struct Error;

/// Reads the validity of a certificate in DER.
///
/// # Errors
/// When the bytes are not an X.509 certificate up to its validity.
pub fn validity(certificate: &[u8]) -> Result<Validity, Error> {
    read(certificate).ok_or(Error)
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

fn read(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (body, _) = element(certificate, SEQUENCE)?;
    let rest = element(body, VERSION).map_or(body, |(_, rest)| rest);
    let (_serial, rest) = element(rest, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(Validity { not_before, not_after })
}

/// Splits off one element of a given tag: its content and what follows.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    if let Some((text, rest)) = element(bytes, UTC_TIME) {
        let text = std::str::from_utf8(text).ok()?;
        let year: i64 = text.get(..2)?.parse().ok()?;
        // RFC 5280: two digits mean 1950 to 2049.
        let century = if year < 50 { 2000 } else { 1900 };
        return Some((seconds(century + year, text.get(2..)?)?, rest));
    }
    let (text, rest) = element(bytes, GENERALIZED_TIME)?;
    let text = std::str::from_utf8(text).ok()?;
    Some((seconds(text.get(..4)?.parse().ok()?, text.get(4..)?)?, rest))
}

/// `MMDDHHMMSSZ` of a year to seconds since 1970.
fn seconds(year: i64, rest: &str) -> Option<i64> {
    let rest = rest.strip_suffix('Z').filter(|rest| rest.len() == 10)?;
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) {
        return None;
    }
    // Days from civil, with years that begin in March so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_seconds_since_1970() {
        assert_eq!(seconds(1970, "0101000000Z"), Some(0));
        assert_eq!(seconds(2000, "0229235959Z"), Some(951_868_799));
        assert_eq!(seconds(2049, "1231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(9999, "1231235959Z"), Some(253_402_300_799));
        assert_eq!(seconds(2000, "1301000000Z"), None);
        assert_eq!(seconds(2000, "0101000000"), None);
    }

    #[test]
    fn garbage_is_an_error() {
        for bytes in [&b""[..], b"\x30", b"\x30\x03\x30\x01", b"\x30\x84\xff\xff\xff\xff", b"-----BEGIN"] {
            assert_eq!(validity(bytes), Err(Error));
        }
    }

    // T-01, T-02
    #[test]
    fn says_what_is_wrong_now() {
        let validity = Validity { not_before: 100, not_after: 200 };
        assert_eq!(validity.problem(100), None);
        assert_eq!(validity.problem(200), None);
        assert_eq!(validity.problem(99), Some(Problem::NotYet { seconds: 1 }));
        assert_eq!(validity.problem(203), Some(Problem::Expired { seconds: 3 }));
    }
}
