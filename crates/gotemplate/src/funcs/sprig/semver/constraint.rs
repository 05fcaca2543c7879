//! Constraints on versions, such as `>=1.2, <2 || ^3.0`.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::Regex;

use super::{Version, compare_pre};

/// Limits on the length of a constraint in bytes, and on the number of its alternatives.
const MAX_LENGTH: usize = 512;
const MAX_ALTERNATIVES: usize = 32;

/// Alternatives, each a list of conditions that must all hold.
#[derive(Debug)]
pub(super) struct Constraints {
    alternatives: Vec<Vec<Condition>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// The first part of a condition's version that is a wildcard: absent, or `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wildcard {
    None,
    Major,
    Minor,
    Patch,
}

#[derive(Debug)]
struct Condition {
    operator: Operator,
    version: Version,
    wildcard: Wildcard,
}

/// A version in a constraint, in which a part may be `x`.
const VERSION: &str = concat!(
    r"v?([0-9xX*|]+)(\.[0-9xX*|]+)?(\.[0-9xX*|]+)?",
    r"(-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
);
const OPERATOR: &str = "(=>|=<|=|!=|>=|<=|>|<|~>|~|\\^)?";
const BLANK: &str = r"[ \t\n\f\r]";

/// `1.2 - 1.4`.
static RANGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let version = VERSION.replace('(', "(?:").replace("(?:?:", "(?:");
    Regex::new(&format!("{BLANK}*({version}){BLANK}+-{BLANK}+({version}){BLANK}*")).ok()
});
/// One condition.
static CONDITION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!("{OPERATOR}{BLANK}*{VERSION}")).ok());
/// Conditions separated by blanks or commas.
static CONDITIONS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let condition = format!("{OPERATOR}{BLANK}*{VERSION}");
    let pattern = format!("^{BLANK}*{condition}{BLANK}*(?:(?:{BLANK}+|,{BLANK}*){condition}{BLANK}*)*$");
    Regex::new(&pattern).ok()
});

impl Constraints {
    pub(super) fn parse(text: &str) -> Result<Constraints, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("a version constraint may have at most {MAX_LENGTH} bytes"));
        }
        let (Some(range), Some(condition), Some(conditions)) =
            (RANGE.as_ref(), CONDITION.as_ref(), CONDITIONS.as_ref())
        else {
            return Err("version constraints are not available".into());
        };
        let text = range.replace_all(text, ">= $1, <= $2 ");
        let alternatives: Vec<_> = text.split("||").collect();
        if alternatives.len() > MAX_ALTERNATIVES {
            return Err(format!("a version constraint may have at most {MAX_ALTERNATIVES} alternatives"));
        }
        let read = |alternative: &str| -> Result<Vec<Condition>, String> {
            if !conditions.is_match(alternative) {
                return Err(format!("{alternative:?} is not a version constraint"));
            }
            condition.captures_iter(alternative).map(|parts| Condition::read(&parts)).collect()
        };
        let alternatives = alternatives.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Constraints { alternatives })
    }

    /// A version with a pre-release satisfies only alternatives that also name a pre-release.
    pub(super) fn hold_for(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|conditions| {
            let with_pre = conditions.iter().any(|condition| !condition.version.pre.is_empty());
            (version.pre.is_empty() || with_pre)
                && conditions.iter().all(|condition| condition.holds(version))
        })
    }
}

impl Condition {
    fn read(parts: &regex::Captures<'_>) -> Result<Condition, String> {
        let part = |at: usize| parts.get(at).map_or("", |part| part.as_str());
        let operator = match part(1) {
            "!=" => Operator::NotEqual,
            ">" => Operator::Greater,
            "<" => Operator::Less,
            ">=" | "=>" => Operator::GreaterOrEqual,
            "<=" | "=<" => Operator::LessOrEqual,
            "~" | "~>" => Operator::Tilde,
            "^" => Operator::Caret,
            _ => Operator::Equal,
        };
        let any = |part: &str| matches!(part.trim_start_matches('.'), "" | "x" | "X" | "*");
        let (major, minor, patch, pre) = (part(2), part(3), part(4), part(5));
        let (wildcard, text) = if any(major) {
            (Wildcard::Major, format!("0.0.0{pre}"))
        } else if any(minor) {
            (Wildcard::Minor, format!("{major}.0.0{pre}"))
        } else if any(patch) {
            (Wildcard::Patch, format!("{major}{minor}.0{pre}"))
        } else {
            (Wildcard::None, format!("{major}{minor}{patch}{pre}"))
        };
        let version = Version::parse(&text).map_err(|_| format!("{text:?} is not a version"))?;
        Ok(Condition { operator, version, wildcard })
    }

    fn holds(&self, found: &Version) -> bool {
        let wanted = &self.version;
        let order = found.compare(wanted);
        let same_major = found.major == wanted.major;
        let same_minor = found.minor == wanted.minor;
        match self.operator {
            Operator::Equal if self.wildcard == Wildcard::None => order == Ordering::Equal,
            Operator::Equal | Operator::Tilde => self.tilde(found, order),
            Operator::NotEqual => match self.wildcard {
                Wildcard::None => order != Ordering::Equal,
                _ if !same_major => true,
                Wildcard::Minor => false,
                _ if !same_minor => true,
                Wildcard::Patch => {
                    let pre = !found.pre.is_empty() || !wanted.pre.is_empty();
                    pre && compare_pre(&found.pre, &wanted.pre) != Ordering::Equal
                }
                Wildcard::Major => order != Ordering::Equal,
            },
            Operator::Greater => match (self.wildcard, found.major.cmp(&wanted.major)) {
                (Wildcard::Minor | Wildcard::Patch, Ordering::Greater) => true,
                (Wildcard::Minor | Wildcard::Patch, Ordering::Less) => false,
                (Wildcard::Minor, Ordering::Equal) => false,
                (Wildcard::Patch, Ordering::Equal) => found.minor > wanted.minor,
                (Wildcard::None | Wildcard::Major, _) => order == Ordering::Greater,
            },
            Operator::Less => order == Ordering::Less,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::LessOrEqual => match self.wildcard {
                Wildcard::None => order != Ordering::Greater,
                wildcard => {
                    found.major <= wanted.major
                        && !(same_major && found.minor > wanted.minor && wildcard != Wildcard::Minor)
                }
            },
            Operator::Caret => {
                if order == Ordering::Less {
                    false
                } else if wanted.major > 0 || self.wildcard == Wildcard::Minor {
                    same_major
                } else if found.major > 0 {
                    false
                } else if wanted.minor > 0 || self.wildcard == Wildcard::Patch {
                    same_minor
                } else {
                    found.minor == 0 && found.patch == wanted.patch
                }
            }
        }
    }

    /// The same minor version, from the given patch on; the same major version if no minor one is given.
    fn tilde(&self, found: &Version, order: Ordering) -> bool {
        let wanted = &self.version;
        if order == Ordering::Less {
            return false;
        }
        let zero = wanted.major == 0 && wanted.minor == 0 && wanted.patch == 0;
        if zero && matches!(self.wildcard, Wildcard::None | Wildcard::Major) {
            return true;
        }
        found.major == wanted.major && (found.minor == wanted.minor || self.wildcard == Wildcard::Minor)
    }
}
