//! Kubernetes quantities, such as `100m` and `1.5Gi`, as `resource.ParseQuantity` reads them and Go writes them.

mod amount;

pub(crate) use self::amount::{Amount, CPU, HUGE_PAGES, MEMORY};

/// The sign of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Below zero; invalid for an amount of a resource.
    Negative,
    /// Zero, which `+` and `.` also denote.
    Zero,
    /// Above zero.
    Positive,
}

/// The expected value, for error messages.
pub(crate) const ACCEPTED: &str = "a quantity such as 500m, 2 or 1.5Gi";

/// Go accepts any 64-bit exponent and then computes for hours; no realistic amount comes near this one.
const LARGEST_EXPONENT: i64 = 999;

/// The smallest power of ten that is represented: 10⁻⁹, `n`.
const NANO: i32 = -9;

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// From 10⁻⁹ up, in steps of a thousand.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// Parses a quantity and returns its sign; `None` if the text is not a quantity.
pub(crate) fn sign(text: &str) -> Option<Sign> {
    let parts = Parts::of(text)?;
    Some(match (parts.is_zero(), parts.negative) {
        (true, _) => Sign::Zero,
        (false, true) => Sign::Negative,
        (false, false) => Sign::Positive,
    })
}

/// A quantity as Go writes it after reading it (`Quantity.MarshalJSON`); `None` if the text is not a quantity or has an
/// unrealistic number of digits.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let parts = Parts::of(text)?;
    let read = parts.fast().map_or_else(|| parts.slow(), Some)?;
    if read.is_canonical {
        return Some(text.to_owned());
    }
    if read.digits == 0 {
        return Some("0".to_owned());
    }
    let written = match read.suffix {
        Suffix::Binary(_) => {
            let whole = whole(read.digits, read.exponent).filter(|whole| *whole >= 1024);
            match whole {
                Some(whole) => binary(whole),
                // Fractions of a byte, and amounts below 1Ki, get decimal suffixes.
                None => decimal(read.digits, read.exponent, false)?,
            }
        }
        Suffix::Decimal(_) => decimal(read.digits, read.exponent, false)?,
        Suffix::Exponent(_) => decimal(read.digits, read.exponent, true)?,
    };
    Some(format!("{}{written}", if parts.negative { "-" } else { "" }))
}

/// The scale of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suffix {
    /// A power of 2.
    Binary(u32),
    /// A power of 10, written as a letter.
    Decimal(i32),
    /// A power of 10, written as an exponent.
    Exponent(i32),
}

/// The parts of a quantity (Go's `parseQuantityString`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'t> {
    /// Whether there is a minus sign.
    pub(crate) negative: bool,
    /// Digits before the point, without leading zeros; `0` if there are none.
    pub(crate) whole: &'t str,
    /// Digits after the point.
    pub(crate) fraction: &'t str,
    /// The scale.
    pub(crate) suffix: Suffix,
}

/// A parsed quantity: `digits · 10^exponent`, unsigned.
#[derive(Clone, Copy, Debug)]
struct Read {
    digits: u128,
    exponent: i32,
    suffix: Suffix,
    /// Whether Go preserves the text it read.
    is_canonical: bool,
}

impl<'t> Parts<'t> {
    /// The parts of a quantity; `None` if the text is not one.
    pub(crate) fn of(text: &'t str) -> Option<Parts<'t>> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        let after_integer = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let integer = rest.strip_suffix(after_integer)?;
        let (fraction, after_number) = match after_integer.strip_prefix('.') {
            Some(fraction) => {
                let after = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
                (fraction.strip_suffix(after)?, after)
            }
            None => ("", after_integer),
        };
        let suffix = suffix(after_number)?;
        if integer.is_empty() && fraction.is_empty() && !takes_no_digits(suffix) {
            return None;
        }
        let whole = match integer.trim_start_matches('0') {
            "" => "0",
            whole => whole,
        };
        Some(Parts { negative, whole, fraction, suffix })
    }

    /// Whether the quantity is zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.whole.bytes().chain(self.fraction.bytes()).all(|digit| digit == b'0')
    }

    /// The fast path of Go's `ParseQuantity`, which keeps texts that it considers canonical.
    fn fast(&self) -> Option<Read> {
        let digits = format!("{}{}", self.whole, self.fraction);
        let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 18)?;
        let (value, exponent, is_canonical) = match self.suffix {
            Suffix::Binary(power) => {
                let room = 14_usize.checked_sub(usize::try_from(power * 3 / 10).ok()?)?;
                if !self.fraction.is_empty() || digits.len() > room {
                    return None;
                }
                let scaled = i64::try_from(value).ok()?.checked_mul(1_i64 << power)?;
                (u128::try_from(scaled).ok()?, 0, value & 7 != 0)
            }
            Suffix::Decimal(power) | Suffix::Exponent(power) => {
                let scale = power.checked_sub(i32::try_from(self.fraction.len()).ok()?)?;
                if scale < NANO {
                    return None;
                }
                let is_canonical = scale % 3 == 0 && !digits.ends_with("000") && !digits.starts_with('0');
                (u128::from(value), scale, is_canonical)
            }
        };
        Some(Read { digits: value, exponent, suffix: self.suffix, is_canonical })
    }

    /// The slow path of `ParseQuantity`: anything below 10⁻⁹ is rounded up.
    fn slow(&self) -> Option<Read> {
        let mut digits: u128 = format!("{}{}", self.whole, self.fraction).parse().ok()?;
        let mut exponent = -i32::try_from(self.fraction.len()).ok()?;
        let mut suffix = self.suffix;
        match suffix {
            Suffix::Binary(power) => digits = digits.checked_mul(1 << power)?,
            Suffix::Decimal(power) | Suffix::Exponent(power) => exponent = exponent.checked_add(power)?,
        }
        if digits != 0 && exponent < NANO {
            let divisor = u32::try_from(NANO - exponent).ok().and_then(|power| 10_u128.checked_pow(power));
            digits = divisor.map_or(1, |divisor| digits.div_ceil(divisor));
            exponent = NANO;
        }
        if let Suffix::Binary(_) = suffix {
            let scale = 10_u128.checked_pow(u32::try_from(-exponent).ok()?)?;
            let most = u128::from(i64::MAX.unsigned_abs());
            if digits > most.checked_mul(scale)? {
                (digits, exponent) = (most, 0);
            } else if digits < scale {
                suffix = Suffix::Decimal(0);
            }
        }
        Some(Read { digits, exponent, suffix, is_canonical: false })
    }
}

/// Kubernetes' `suffixer.interpret`: a known suffix, or a decimal exponent.
fn suffix(text: &str) -> Option<Suffix> {
    if let Some(index) = DECIMAL.iter().position(|known| *known == text) {
        return Some(Suffix::Decimal(i32::try_from(index).ok()? * 3 + NANO));
    }
    if let Some(index) = BINARY.iter().position(|known| *known == text) {
        return Some(Suffix::Binary((u32::try_from(index).ok()? + 1) * 10));
    }
    let exponent: i64 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
    if !(-LARGEST_EXPONENT..=LARGEST_EXPONENT).contains(&exponent) {
        return None;
    }
    i32::try_from(exponent).ok().map(Suffix::Exponent)
}

/// A number without digits is 0 in Go, unless its suffix rules out the fast path of `ParseQuantity`.
fn takes_no_digits(suffix: Suffix) -> bool {
    match suffix {
        Suffix::Binary(power) => power < 50,
        Suffix::Decimal(_) => true,
        Suffix::Exponent(exponent) => exponent >= NANO,
    }
}

/// `digits · 10^exponent` if it is a whole number.
fn whole(digits: u128, exponent: i32) -> Option<u128> {
    let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
    match exponent {
        0.. => digits.checked_mul(power),
        _ => digits.is_multiple_of(power).then(|| digits / power),
    }
}

/// Go's `AsCanonicalBase1024Bytes`, with the suffix.
fn binary(mut value: u128) -> String {
    let mut suffix = "";
    for next in BINARY {
        if !value.is_multiple_of(1024) {
            break;
        }
        value /= 1024;
        suffix = next;
    }
    format!("{value}{suffix}")
}

/// Go's `AsCanonicalBytes`, with the suffix; there is none from 10²¹ up, and Go writes the number without it.
fn decimal(mut digits: u128, mut exponent: i32, as_power: bool) -> Option<String> {
    while digits.is_multiple_of(10) && digits != 0 {
        digits /= 10;
        exponent += 1;
    }
    while exponent.rem_euclid(3) != 0 {
        digits = digits.checked_mul(10)?;
        exponent -= 1;
    }
    if as_power {
        return Some(if exponent == 0 { digits.to_string() } else { format!("{digits}e{exponent}") });
    }
    let suffix = usize::try_from((exponent - NANO) / 3).ok().and_then(|index| DECIMAL.get(index));
    Some(format!("{digits}{}", suffix.unwrap_or(&"")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn reads_and_writes_quantities_as_kubernetes_does() {
        let fixture: Value = serde_json::from_str(include_str!("../tests/fixtures/formats.json")).unwrap();
        let mut checked = 0;
        for row in fixture["quantities"].as_array().unwrap() {
            let (text, wanted) = (row[0].as_str().unwrap(), row[1].as_str());
            assert_eq!(sign(text).is_some(), wanted.is_some(), "{text:?}");
            assert_eq!(canonical(text).as_deref(), wanted, "{text:?}");
            checked += 1;
        }
        assert!(checked > 1500, "{checked}");
    }

    #[test]
    fn tells_on_which_side_of_zero_a_quantity_is() {
        for (text, wanted) in [
            ("-1.2Gi", Some(Sign::Negative)),
            ("-0", Some(Sign::Zero)),
            (".", Some(Sign::Zero)),
            ("+.5", Some(Sign::Positive)),
            ("2cores", None),
        ] {
            assert_eq!(sign(text), wanted, "{text}");
        }
    }

    #[test]
    fn refuses_exponents_no_one_means() {
        assert_eq!(sign("1e999"), Some(Sign::Positive));
        assert_eq!(sign("1e1000"), None);
        assert_eq!(sign("1e-99999999999"), None);
        assert_eq!(sign("1e99999999999999999999"), None);
    }
}
