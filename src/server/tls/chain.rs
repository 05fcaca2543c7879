//! The validity period of the server's own certificate. Pure.
//!
//! All other checks of the certificate are left to its verifiers.

use std::fmt;

use x509_parser::certificate::X509Certificate;

/// The validity period of a certificate, in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Start.
    pub not_before: i64,
    /// End.
    pub not_after: i64,
}

impl Validity {
    /// Why the certificate is not valid at a time, if it is not.
    pub fn problem(&self, now: i64) -> Option<Problem> {
        if now < self.not_before {
            Some(Problem::NotYet { from: self.not_before, seconds: self.not_before - now })
        } else if now > self.not_after {
            Some(Problem::Expired { on: self.not_after, seconds: now - self.not_after })
        } else {
            None
        }
    }
}

/// Why a certificate is not valid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not valid yet.
    NotYet {
        /// Start of the validity, in seconds since 1970.
        from: i64,
        /// Seconds until then.
        seconds: i64,
    },
    /// It has expired.
    Expired {
        /// End of the validity, in seconds since 1970.
        on: i64,
        /// Seconds since then.
        seconds: i64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NotYet { from, seconds } => write!(
                out,
                "the certificate becomes valid on {}, in {} (is the clock right?)",
                date(*from),
                span(*seconds)
            ),
            Problem::Expired { on, seconds } => {
                write!(out, "the certificate expired on {}, {} ago", date(*on), span(*seconds))
            }
        }
    }
}

/// Formats a time in seconds since 1970 for people.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Formats a duration in one unit, rounded down.
pub(crate) fn span(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// The certificate is not X.509.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot read the validity of the certificate; expected X.509 in DER")]
pub struct Error;

/// Parses the validity period of a certificate in DER.
///
/// # Errors
/// When the bytes are not an X.509 certificate.
pub fn validity(certificate: &[u8]) -> Result<Validity, Error> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).map_err(|_| Error)?;
    Ok(Validity::of(&certificate))
}

impl Validity {
    /// The validity period of a parsed certificate.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Validity {
        let validity = certificate.validity();
        Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_ways_to_write_a_time() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        // Two-digit years until 2049, four digits from 2050 on.
        for (start, end) in
            [((2000, 2, 29), (2049, 12, 31)), ((1999, 1, 1), (2050, 1, 1)), ((2024, 2, 29), (9999, 12, 31))]
        {
            parameters.not_before = rcgen::date_time_ymd(start.0, start.1, start.2);
            parameters.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
            let certificate = parameters.self_signed(&key).unwrap();
            let wanted = Validity {
                not_before: parameters.not_before.unix_timestamp(),
                not_after: parameters.not_after.unix_timestamp(),
            };
            assert_eq!(validity(certificate.der()), Ok(wanted), "{start:?} to {end:?}");
        }
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
        assert_eq!(validity.problem(99), Some(Problem::NotYet { from: 100, seconds: 1 }));
        assert_eq!(validity.problem(203), Some(Problem::Expired { on: 200, seconds: 3 }));
        let expired = Problem::Expired { on: 1_609_459_200, seconds: 186_503_396 }.to_string();
        assert_eq!(expired, "the certificate expired on 2021-01-01T00:00:00Z, 2158 days ago");
        let not_yet = Problem::NotYet { from: 1_609_459_200, seconds: 1 }.to_string();
        assert_eq!(
            not_yet,
            "the certificate becomes valid on 2021-01-01T00:00:00Z, in 1 second (is the clock right?)"
        );
        let spans = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(span);
        assert_eq!(
            spans,
            ["0 seconds", "119 seconds", "2 minutes", "119 minutes", "2 hours", "47 hours", "2 days"]
        );
    }
}
