//! Semantic versions as `github.com/Masterminds/semver/v3` parses and compares them.

use std::cmp::Ordering;
use std::rc::Rc;

use super::super::{Param, Row};
use super::argument::{real, value};
use crate::value::{Record, Text, UintType, Value};

mod constraint;

use Param::String as Str;

pub(super) const ROWS: &[Row] = &[
    Row::new("semver", &[Str], |call, args| {
        let source = real(call, args, 0)?;
        let tainted = value(args, 0)?.is_tainted();
        let version = Version::parse(&source)?;
        let text = |text: &str| Value::String(Text::new(text.to_owned(), tainted));
        let number = |number| Value::Uint(number, UintType::Uint64);
        Ok(Value::Record(Rc::new(Record {
            name: "*semver.Version",
            fields: vec![
                ("Major", number(version.major)),
                ("Minor", number(version.minor)),
                ("Patch", number(version.patch)),
                ("Prerelease", text(&version.pre)),
                ("Metadata", text(&version.metadata)),
                ("Original", text(&source)),
                ("String", text(&version.to_string())),
            ],
            printed: Some(Text::new(version.to_string(), tainted)),
        })))
    }),
    Row::new("semverCompare", &[Str, Str], |call, args| {
        let wanted = constraint::Constraints::parse(&real(call, args, 0)?)?;
        let version = Version::parse(&real(call, args, 1)?)?;
        Ok(Value::Bool(wanted.hold_for(&version)))
    }),
];

/// Maximum length of a version in bytes (`MaxVersionLen`).
const MAX_LENGTH: usize = 256;

/// A version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    pre: String,
    metadata: String,
}

impl Version {
    /// Parses a version: one to three numbers, then the parts after `-` and `+`; a leading `v` is allowed.
    fn parse(text: &str) -> Result<Version, String> {
        let invalid = || format!("{text:?} is not a semantic version");
        if text.len() > MAX_LENGTH {
            return Err(format!("a version may have at most {MAX_LENGTH} bytes"));
        }
        let rest = text.strip_prefix('v').unwrap_or(text);
        let (rest, metadata) = match rest.split_once('+') {
            Some((rest, metadata)) => (rest, identifiers(metadata).ok_or_else(invalid)?),
            None => (rest, ""),
        };
        let (numbers, pre) = match rest.split_once('-') {
            Some((numbers, pre)) => (numbers, identifiers(pre).ok_or_else(invalid)?),
            None => (rest, ""),
        };
        if pre.split('.').any(|part| part.len() > 1 && part.starts_with('0') && is_number(part)) {
            return Err(format!("{text:?} is not a semantic version: a number in {pre:?} starts with 0"));
        }
        let mut parts = Vec::new();
        for part in numbers.split('.') {
            if !is_number(part) {
                return Err(invalid());
            }
            parts.push(part.parse::<u64>().map_err(|_| format!("{part} is too large for a version"))?);
        }
        let (major, minor, patch) = match *parts.as_slice() {
            [major] => (major, 0, 0),
            [major, minor] => (major, minor, 0),
            [major, minor, patch] => (major, minor, patch),
            _ => return Err(invalid()),
        };
        Ok(Version { major, minor, patch, pre: pre.to_owned(), metadata: metadata.to_owned() })
    }

    /// `Version.Compare`: build metadata does not count.
    fn compare(&self, other: &Version) -> Ordering {
        let numbers = |version: &Version| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => compare_pre(&self.pre, &other.pre),
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(out, "-{}", self.pre)?;
        }
        if !self.metadata.is_empty() {
            write!(out, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// The text if it consists of identifiers separated by dots.
fn identifiers(text: &str) -> Option<&str> {
    let is_identifier =
        |part: &str| !part.is_empty() && part.bytes().all(|c| c == b'-' || c.is_ascii_alphanumeric());
    text.split('.').all(is_identifier).then_some(text)
}

/// Compares identifier by identifier: numbers before names, numbers by value, and the longer list is larger.
fn compare_pre(one: &str, two: &str) -> Ordering {
    let (mut ones, mut twos) = (one.split('.'), two.split('.'));
    loop {
        let order = match (ones.next(), twos.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(one), Some(two)) => match (one.parse::<u64>(), two.parse::<u64>()) {
                (Ok(one), Ok(two)) => one.cmp(&two),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => one.cmp(two),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}
