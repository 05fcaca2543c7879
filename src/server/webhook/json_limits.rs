//! A bound on the nesting of a body, checked before anything reads it.
//!
//! One pass over the bytes, no recursion and no allocation: a text that is too deep is refused at a cost that is linear in
//! the bytes read so far. It does not check the grammar; the parser does. How many values the pod in it may have is
//! checked where it is known which part of the body is the pod: [`limits`](crate::inject::limits).

/// Nesting of arrays and objects that is accepted.
pub const DEPTH: usize = 256;

/// The text is nested deeper than [`DEPTH`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the JSON is nested deeper than {DEPTH} levels")]
pub struct TooDeep;

/// Measures the depth of a JSON text.
///
/// # Errors
/// When it is over the limit.
pub fn check(text: &[u8]) -> Result<(), TooDeep> {
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = after_string(rest),
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH {
                    return Err(TooDeep);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// What follows a string, whose opening quote is taken already.
fn after_string(mut rest: &[u8]) -> &[u8] {
    // Most of a review is strings.
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let escape = rest.get(at) == Some(&b'\\');
        rest = rest.get(at + 1 + usize::from(escape)..).unwrap_or_default();
        if !escape {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
    }

    // I-06
    #[test]
    fn accepts_the_limit_and_refuses_one_more_level() {
        assert_eq!(check(&nested(DEPTH)), Ok(()));
        assert_eq!(check(&nested(DEPTH + 1)), Err(TooDeep));
        assert_eq!(check(&nested(100_000)), Err(TooDeep));
    }

    #[test]
    fn strings_do_not_count() {
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(1000), "{,\\\\".repeat(1000));
        assert_eq!(check(text.as_bytes()), Ok(()));
        assert_eq!(check(br#""open \"#), Ok(()));
    }
}
