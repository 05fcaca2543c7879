//! Limits the nesting depth of a body before anything parses it.
//!
//! One pass over the bytes, without recursion or allocation, so that rejecting a text costs time linear in the bytes
//! read so far. The parser checks the grammar. The number of values in a pod is checked where the pod's place in the
//! body is known: [`limits`](crate::inject::limits).

/// Maximum nesting of arrays and objects.
pub const DEPTH: usize = 256;

/// The text is nested deeper than [`DEPTH`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the JSON is nested deeper than {DEPTH} levels")]
pub struct TooDeep;

/// Measures the nesting depth of a JSON text.
///
/// # Errors
/// When it exceeds the limit.
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

/// The rest of a string, whose opening quote was already consumed.
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
