//! Bounds on the shape of a JSON text, checked before anything is built from it.
//!
//! One pass over the bytes, no recursion and no allocation: a text that is too deep or has too many values is
//! refused at a cost that is linear in the bytes read so far. It does not check the grammar; the parser does.

/// Nesting of arrays and objects that is accepted.
pub const DEPTH: usize = 256;
/// Values (scalars, arrays, objects) that are accepted.
pub const NODES: usize = 500_000;

/// Why a text is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Nested deeper than [`DEPTH`].
    #[error("the JSON is nested deeper than {DEPTH} levels")]
    Depth,
    /// More values than [`NODES`].
    #[error("the JSON has more than {NODES} values")]
    Nodes,
}

/// Counts depth and values of a JSON text.
///
/// # Errors
/// When either is over its limit.
pub fn check(text: &[u8]) -> Result<(), Error> {
    let mut depth = 0_usize;
    // Every value but the first of a container follows a comma, so commas and openings bound the values.
    let mut nodes = 1_usize;
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = after_string(rest),
            b'[' | b'{' => {
                depth += 1;
                nodes += 1;
                if depth > DEPTH {
                    return Err(Error::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => nodes += 1,
            _ => {}
        }
        if nodes > NODES {
            return Err(Error::Nodes);
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
        assert_eq!(check(&nested(DEPTH + 1)), Err(Error::Depth));
        assert_eq!(check(&nested(100_000)), Err(Error::Depth));
    }

    #[test]
    fn counts_values() {
        let list = |n: usize| format!("[{}0]", "0,".repeat(n)).into_bytes();
        assert_eq!(check(&list(NODES - 2)), Ok(()));
        assert_eq!(check(&list(NODES)), Err(Error::Nodes));
    }

    #[test]
    fn strings_do_not_count() {
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(1000), "{,\\\\".repeat(1000));
        assert_eq!(check(text.as_bytes()), Ok(()));
        assert_eq!(check(br#""open \"#), Ok(()));
    }
}
