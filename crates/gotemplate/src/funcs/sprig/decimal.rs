//! Decimal arithmetic like `github.com/shopspring/decimal`, so that `addf 0.1 0.2` is 0.3.
//!
//! A number consists of decimal digits and an exponent; sums and products are exact, quotients have 16 decimal places.

use std::cmp::Ordering;

/// `DivisionPrecision` of the Go module.
const DIVISION_PLACES: i32 = 16;

/// A decimal number.
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    negative: bool,
    /// Digits starting with the least significant one, without leading zeros; empty for zero.
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    /// The shortest decimal that parses as `number`; `None` if it is not finite.
    pub(super) fn from_float(number: f64) -> Option<Decimal> {
        if !number.is_finite() {
            return None;
        }
        let text = format!("{:e}", number.abs());
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.bytes().chain(fraction.bytes()).rev().map(|digit| digit - b'0').collect();
        let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        Some(Decimal { negative: number < 0.0, digits: trimmed(digits), exponent })
    }

    /// The nearest float.
    pub(super) fn to_float(&self) -> f64 {
        let digits: String = self.digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
        if digits.is_empty() {
            return 0.0;
        }
        let sign = if self.negative { "-" } else { "" };
        // A decimal in this form always parses; Rust rounds it correctly regardless of its length.
        format!("{sign}{digits}e{}", self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// The number of digits.
    pub(super) fn digits(&self) -> usize {
        self.digits.len()
    }

    /// The sum.
    pub(super) fn add(&self, other: &Decimal) -> Decimal {
        let exponent = self.exponent.min(other.exponent);
        let (one, two) = (self.scaled_to(exponent), other.scaled_to(exponent));
        let (negative, digits) = if self.negative == other.negative {
            (self.negative, plus(&one, &two))
        } else {
            match compare(&one, &two) {
                Ordering::Less => (other.negative, minus(&two, &one)),
                _ => (self.negative, minus(&one, &two)),
            }
        };
        Decimal { negative: negative && !digits.is_empty(), digits, exponent }
    }

    /// The difference.
    pub(super) fn sub(&self, other: &Decimal) -> Decimal {
        let negated = Decimal { negative: !other.negative, ..other.clone() };
        self.add(&negated)
    }

    /// The product.
    pub(super) fn mul(&self, other: &Decimal) -> Decimal {
        let digits = times(&self.digits, &other.digits);
        Decimal {
            negative: self.negative != other.negative && !digits.is_empty(),
            digits,
            exponent: self.exponent + other.exponent,
        }
    }

    /// The quotient to 16 places, with halves rounded away from zero; `None` if `other` is zero.
    pub(super) fn div(&self, other: &Decimal) -> Option<Decimal> {
        if other.digits.is_empty() {
            return None;
        }
        let shift = self.exponent - other.exponent + DIVISION_PLACES;
        let (dividend, divisor) = if shift >= 0 {
            (shifted(&self.digits, shift.unsigned_abs()), other.digits.clone())
        } else {
            (self.digits.clone(), shifted(&other.digits, shift.unsigned_abs()))
        };
        let (mut quotient, remainder) = divided(&dividend, &divisor);
        if compare(&plus(&remainder, &remainder), &divisor) != Ordering::Less {
            quotient = plus(&quotient, &[1]);
        }
        let negative = self.negative != other.negative && !quotient.is_empty();
        Some(Decimal { negative, digits: quotient, exponent: -DIVISION_PLACES })
    }

    fn scaled_to(&self, exponent: i32) -> Vec<u8> {
        shifted(&self.digits, (self.exponent - exponent).unsigned_abs())
    }
}

fn trimmed(mut digits: Vec<u8>) -> Vec<u8> {
    while digits.last() == Some(&0) {
        digits.pop();
    }
    digits
}

/// Times ten to the power of `places`.
fn shifted(digits: &[u8], places: u32) -> Vec<u8> {
    let zeros = if digits.is_empty() { 0 } else { usize::try_from(places).unwrap_or(0) };
    std::iter::repeat_n(0, zeros).chain(digits.iter().copied()).collect()
}

fn compare(one: &[u8], two: &[u8]) -> Ordering {
    one.len().cmp(&two.len()).then_with(|| one.iter().rev().cmp(two.iter().rev()))
}

fn plus(one: &[u8], two: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum = Vec::with_capacity(one.len().max(two.len()) + 1);
    for at in 0..one.len().max(two.len()) {
        let digit = one.get(at).unwrap_or(&0) + two.get(at).unwrap_or(&0) + carry;
        sum.push(digit % 10);
        carry = digit / 10;
    }
    sum.push(carry);
    trimmed(sum)
}

/// `one - two`, where `two` is not larger.
fn minus(one: &[u8], two: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut difference = Vec::with_capacity(one.len());
    for (at, digit) in one.iter().enumerate() {
        let taken = two.get(at).unwrap_or(&0) + borrow;
        borrow = u8::from(*digit < taken);
        difference.push(digit + 10 * borrow - taken);
    }
    trimmed(difference)
}

fn times(one: &[u8], two: &[u8]) -> Vec<u8> {
    let mut columns = vec![0_u32; one.len() + two.len()];
    for (at, digit) in one.iter().enumerate() {
        for (column, other) in columns.iter_mut().skip(at).zip(two) {
            *column += u32::from(*digit) * u32::from(*other);
        }
        // The carry is propagated immediately, so a column cannot overflow with any number of digits.
        carry(columns.get_mut(at..).unwrap_or_default());
    }
    trimmed(columns.into_iter().map(|column| u8::try_from(column).unwrap_or(9)).collect())
}

fn carry(columns: &mut [u32]) {
    let mut over = 0;
    for column in columns {
        let value = *column + over;
        *column = value % 10;
        over = value / 10;
    }
}

/// Long division: quotient and remainder.
fn divided(dividend: &[u8], divisor: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut quotient = Vec::with_capacity(dividend.len());
    let mut remainder: Vec<u8> = Vec::new();
    for digit in dividend.iter().rev() {
        remainder.insert(0, *digit);
        remainder = trimmed(remainder);
        let mut count = 0;
        while compare(&remainder, divisor) != Ordering::Less {
            remainder = minus(&remainder, divisor);
            count += 1;
        }
        quotient.push(count);
    }
    quotient.reverse();
    (trimmed(quotient), remainder)
}
