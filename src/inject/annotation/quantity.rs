//! Kubernetes quantities, such as `100m` and `1.5Gi`, as `resource.ParseQuantity` accepts them.
//!
//! Only whether a text is one matters here: the value is the API server's business.

/// Whether the text is a quantity, and whether it is negative.
pub(super) fn sign(text: &str) -> Option<Sign> {
    let (positive, rest) = match text.as_bytes().first()? {
        b'-' => (false, text.get(1..)?),
        b'+' => (true, text.get(1..)?),
        _ => (true, text),
    };
    let after_integer = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let after_number = match after_integer.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => after_integer,
    };
    let number = rest.strip_suffix(after_number)?;
    if !is_suffix(after_number) || (number.trim_matches('.').is_empty() && !takes_no_digits(after_number)) {
        return None;
    }
    if number.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        return Some(if positive { Sign::Positive } else { Sign::Negative });
    }
    Some(Sign::Zero)
}

/// On which side of zero a quantity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Below zero; an amount of a resource cannot be.
    Negative,
    /// Zero, which also `+` and `.` are.
    Zero,
    /// Above zero.
    Positive,
}

/// Kubernetes' `suffixer.interpret`: a known suffix, or a decimal exponent.
fn is_suffix(text: &str) -> bool {
    if matches!(
        text,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    ) {
        return true;
    }
    let Some(exponent) = text.strip_prefix(['e', 'E']) else { return false };
    exponent.parse::<i64>().is_ok_and(|exponent| (-LARGEST_EXPONENT..=LARGEST_EXPONENT).contains(&exponent))
}

/// Go takes any 64-bit exponent and then computes for hours; nothing that is an amount of memory is near this one.
const LARGEST_EXPONENT: i64 = 999;

/// A number without digits is 0 in Go, unless the suffix leads past the fast path of `ParseQuantity`.
fn takes_no_digits(suffix: &str) -> bool {
    let tiny = suffix.strip_prefix(['e', 'E']).and_then(|exponent| exponent.parse::<i64>().ok());
    !matches!(suffix, "Pi" | "Ei") && tiny.is_none_or(|exponent| exponent >= -9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_exponents_no_one_means() {
        assert_eq!(sign("1e999"), Some(Sign::Positive));
        assert_eq!(sign("1e1000"), None);
        assert_eq!(sign("1e-99999999999"), None);
        assert_eq!(sign("1e99999999999999999999"), None);
    }
}
