//! Finds the known name that a misspelled one was probably meant to be.

/// The candidate nearest to `found`, if it is near enough to be a typo: the distance is at most a third of the letters
/// and at most three, and case does not count.
pub(crate) fn nearest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found: Vec<char> = found.to_lowercase().chars().take(LONGEST).collect();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().take(LONGEST).collect();
            let allowed = (letters.len().max(found.len()) / 3).clamp(1, 3);
            let distance = distance(&found, &letters);
            (distance <= allowed).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Upper limit on the length of names; for longer ones the quadratic cost is not worthwhile.
const LONGEST: usize = 128;

/// Edit distance between two words; swapping neighbors counts as one edit (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut cost = (at(&last, column) + usize::from(letter != other))
                .min(at(&last, column + 1) + 1)
                .min(at(&line, column) + 1);
            let swapped = row > 0
                && column > 0
                && from.get(row - 1) == Some(other)
                && to.get(column - 1) == Some(letter);
            if swapped {
                cost = cost.min(at(&before, column - 1) + 1);
            }
            line.push(cost);
        }
        before = std::mem::replace(&mut last, line);
    }
    last.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["policy", "templates", "template", "neverInjectSelector"];

    #[test]
    fn finds_slips_of_the_fingers() {
        for (found, wanted) in [
            ("polcy", Some("policy")),
            ("ploicy", Some("policy")),
            ("Policy", Some("policy")),
            ("templats", Some("templates")),
            ("template", Some("template")),
            ("neverInjectSelectors", Some("neverInjectSelector")),
            ("neverinjectselector", Some("neverInjectSelector")),
            ("revision", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(found, KEYS), wanted, "{found}");
        }
    }

    #[test]
    fn a_swap_is_one_edit() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("abcd"), &letters("acbd")), 1);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
    }
}
