//! Amounts of a resource: Kubernetes quantities as exact numbers that can be compared and added.
//!
//! An amount counts nano-units, like `resource.Quantity`: smaller fractions are rounded up to one. With a binary
//! suffix, values above 2^63-1 units are capped; with a decimal one, nothing is too large for Kubernetes.

use std::ops::Add;

use serde_json::Value;

use super::{Parts, Suffix};

/// Nano-units in one unit.
const UNIT: u128 = 1_000_000_000;
/// The largest amount that can be written with a binary suffix.
const LARGEST_BINARY: u128 = (i64::MAX as u128) * UNIT;
/// The resource that is counted in thousandths.
pub(crate) const CPU: &str = "cpu";
/// The resource that is counted in bytes.
pub(crate) const MEMORY: &str = "memory";
/// Prefix of the resources that are huge pages, before the page size.
pub(crate) const HUGE_PAGES: &str = "hugepages-";
/// Longer texts are not realistic quantities.
const MOST_DIGITS: usize = 256;

/// An amount of a resource, in nano-units; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount(u128);

impl Amount {
    /// Parses a value of a pod: a quantity as text, or a number. `None` if it is invalid, negative, or larger than any
    /// machine: such a pod is left to the API server and the scheduler.
    pub(crate) fn of(value: &Value) -> Option<Amount> {
        match value {
            Value::String(text) => Amount::parse(text),
            Value::Number(number) => Amount::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Parses a quantity.
    pub(crate) fn parse(text: &str) -> Option<Amount> {
        let Parts { negative, whole, fraction, suffix } = Parts::of(text)?;
        if whole.len() + fraction.len() > MOST_DIGITS {
            return None;
        }
        let amount = match suffix {
            Suffix::Decimal(exponent) | Suffix::Exponent(exponent) => {
                decimal(whole, fraction, exponent).map(Amount)
            }
            Suffix::Binary(bits) => Some(Amount(binary(whole, fraction, bits).min(LARGEST_BINARY))),
        };
        amount.filter(|amount| !negative || *amount == Amount::default())
    }

    /// In thousandths, rounded up (`Quantity.MilliValue`).
    pub(crate) fn milli(self) -> u128 {
        self.0.div_ceil(UNIT / 1000)
    }

    /// The difference to another amount, at least zero.
    pub(crate) fn less(self, other: Amount) -> Amount {
        Amount(self.0.saturating_sub(other.0))
    }

    /// The usual notation for a resource: CPUs in thousandths, everything else with a binary suffix if possible.
    pub(crate) fn text(self, resource: &str) -> String {
        let units = self.0 / UNIT;
        if self.0.is_multiple_of(UNIT) {
            let powers = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
            let divides = |(_, bits): &(&str, u32)| units > 0 && units.trailing_zeros() >= *bits;
            return match powers.into_iter().find(divides).filter(|_| resource != CPU) {
                Some((suffix, bits)) => format!("{}{suffix}", units >> bits),
                None => units.to_string(),
            };
        }
        let parts = [("m", UNIT / 1000), ("u", UNIT / 1_000_000), ("n", 1)];
        let fits = |(_, part): &(&str, u128)| self.0.is_multiple_of(*part);
        let (suffix, part) = parts.into_iter().find(fits).unwrap_or(("n", 1));
        format!("{}{suffix}", self.0 / part)
    }
}

impl Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        Amount(self.0.saturating_add(other.0))
    }
}

/// Nano-units of a decimal number times a power of ten, rounded up; `None` on overflow.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> Option<u128> {
    let all = format!("{whole}{fraction}");
    let zeros = exponent + 9 - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    if zeros < 0 {
        let kept = all.len().saturating_sub(zeros.unsigned_abs() as usize);
        let (kept, dropped) = all.split_at(kept);
        return number(kept)?.checked_add(u128::from(has_digits(dropped)));
    }
    match number(&all)? {
        0 => Some(0),
        number => number.checked_mul(10_u128.checked_pow(zeros.unsigned_abs())?),
    }
}

/// Nano-units of a decimal number times a power of two, rounded up.
fn binary(whole: &str, fraction: &str, bits: u32) -> u128 {
    let number = |digits: &str| number(digits).unwrap_or(u128::MAX);
    let units = number(whole).saturating_mul(1 << bits).saturating_mul(UNIT);
    // Limits the digits so that the product with the power of two does not overflow; for every realistic size, the
    // dropped ones are less than a nano-unit.
    let most = 38 - (bits as usize * 3).div_ceil(10);
    let (kept, dropped) = fraction.split_at(fraction.len().min(most));
    let product = number(kept).saturating_mul(1 << bits);
    let (scaled, rest) = match u32::try_from(kept.len()).unwrap_or(u32::MAX).checked_sub(9) {
        Some(places) => {
            let divisor = 10_u128.pow(places);
            (product / divisor, product % divisor != 0)
        }
        None => (product.saturating_mul(10_u128.pow(9 - kept.len() as u32)), false),
    };
    units.saturating_add(scaled).saturating_add(u128::from(rest || has_digits(dropped)))
}

/// The number with these digits, unless it overflows.
fn number(digits: &str) -> Option<u128> {
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

fn has_digits(text: &str) -> bool {
    text.bytes().any(|digit| digit != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compared with Go's `ParseQuantity` by `hack/oracle/annotations`.
    #[test]
    fn amounts_are_kubernetes() {
        let fixture = include_str!("../../tests/fixtures/annotations.json");
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        let mut counted = 0;
        for (text, expected) in fixture["amount"].as_object().unwrap() {
            let wanted = expected.as_str().and_then(|nano| nano.parse().ok()).map(Amount);
            assert_eq!(Amount::parse(text), wanted, "{text:?}");
            counted += usize::from(wanted.is_some());
        }
        assert!(counted > 150, "{counted}");
    }

    #[test]
    fn an_amount_is_written_as_people_write_it_and_read_back() {
        for (amount, cpu, memory) in [
            ("0", "0", "0"),
            ("150m", "150m", "150m"),
            ("0.15", "150m", "150m"),
            ("2000m", "2", "2"),
            ("1024", "1024", "1Ki"),
            ("192Mi", "201326592", "192Mi"),
            ("1.5Gi", "1610612736", "1536Mi"),
            ("1e9", "1000000000", "1000000000"),
            ("1500u", "1500u", "1500u"),
            ("1n", "1n", "1n"),
        ] {
            let amount = Amount::parse(amount).unwrap();
            assert_eq!((amount.text("cpu").as_str(), amount.text("memory").as_str()), (cpu, memory));
            assert_eq!(Amount::parse(&amount.text("memory")), Some(amount));
        }
    }

    #[test]
    fn numbers_and_texts_are_amounts_and_nothing_else_is() {
        assert_eq!(Amount::of(&serde_json::json!(0.5)), Amount::parse("500m"));
        assert_eq!(Amount::of(&serde_json::json!(3)), Amount::parse("3"));
        for none in
            [serde_json::json!(null), serde_json::json!(-1), serde_json::json!("-1"), serde_json::json!({})]
        {
            assert_eq!(Amount::of(&none), None, "{none}");
        }
    }
}
