//! Which items of a list stay: by name where they have one, otherwise by value.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

/// For every old item its index in the new list, if it stays; the indices increase.
pub(super) fn align(old: &[Value], new: &[Value]) -> Vec<Option<usize>> {
    let names_are_equal = || old.iter().zip(new).all(|(old, new)| name(old) == name(new));
    if old.len() == new.len() && names_are_equal() {
        return (0..old.len()).map(Some).collect();
    }
    let mut free: HashMap<String, VecDeque<usize>> = HashMap::new();
    for (index, item) in new.iter().enumerate() {
        free.entry(identity(item)).or_default().push_back(index);
    }
    let candidates: Vec<Option<usize>> =
        old.iter().map(|item| free.get_mut(&identity(item)).and_then(VecDeque::pop_front)).collect();
    let mut kept = longest_increasing(&candidates);
    pair_gaps(&mut kept, old, new);
    kept
}

fn name(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

fn identity(item: &Value) -> String {
    // Several mounts may have the name of one volume.
    let keyed = ["mountPath", "name"].into_iter().find_map(|key| item.get(key).and_then(Value::as_str));
    keyed.map_or_else(|| item.to_string(), |key| format!("={key}"))
}

/// Keeps the candidates of the longest increasing subsequence.
fn longest_increasing(candidates: &[Option<usize>]) -> Vec<Option<usize>> {
    // For every length, the candidate with the smallest end, as the position in the old list.
    let mut ends: Vec<(usize, usize)> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; candidates.len()];
    for (position, candidate) in candidates.iter().enumerate() {
        let Some(index) = *candidate else { continue };
        let length = ends.partition_point(|(end, _)| *end < index);
        let previous = length.checked_sub(1).and_then(|shorter| ends.get(shorter)).map(|(_, at)| *at);
        if let Some(slot) = before.get_mut(position) {
            *slot = previous;
        }
        match ends.get_mut(length) {
            Some(end) => *end = (index, position),
            None => ends.push((index, position)),
        }
    }
    let mut kept = vec![None; candidates.len()];
    let mut position = ends.last().map(|(_, position)| *position);
    while let Some(at) = position {
        if let (Some(slot), Some(candidate)) = (kept.get_mut(at), candidates.get(at)) {
            *slot = *candidate;
        }
        position = before.get(at).copied().flatten();
    }
    kept
}

/// Items without a name that changed in place: as many old ones as new ones between two items that stay.
fn pair_gaps(kept: &mut [Option<usize>], old: &[Value], new: &[Value]) {
    let mut start = 0;
    let mut next = 0;
    while start < kept.len() {
        let end = kept.iter().skip(start).position(Option::is_some).map_or(kept.len(), |at| start + at);
        let new_end = kept.get(end).copied().flatten().unwrap_or(new.len());
        if end > start && end - start == new_end.saturating_sub(next) {
            let pairs = old.iter().skip(start).zip(new.iter().skip(next)).take(end - start);
            let is_unnamed = pairs.into_iter().all(|(old, new)| {
                name(old).is_none() && name(new).is_none() && old.is_object() == new.is_object()
            });
            if is_unnamed {
                for (slot, index) in kept.iter_mut().skip(start).take(end - start).zip(next..) {
                    *slot = Some(index);
                }
            }
        }
        next = new_end + 1;
        start = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn aligned(old: Value, new: Value) -> Vec<Option<usize>> {
        align(old.as_array().unwrap(), new.as_array().unwrap())
    }

    #[test]
    fn items_stay_by_name_value_or_place() {
        let (a, b, c) = (json!({"name": "a"}), json!({"name": "b"}), json!({"name": "c"}));
        assert_eq!(aligned(json!([a, b]), json!([c, a, b])), [Some(1), Some(2)]);
        assert_eq!(aligned(json!([a, b, c]), json!([c, a, b])), [Some(1), Some(2), None]);
        assert_eq!(aligned(json!(["x", "y"]), json!(["y"])), [None, Some(0)]);
        assert_eq!(aligned(json!([{"port": 1}, a]), json!([{"port": 2}, a, b])), [Some(0), Some(1)]);
        assert_eq!(aligned(json!([a]), json!([b, c])), [None]);
    }
}
