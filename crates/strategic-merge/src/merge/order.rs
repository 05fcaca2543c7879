//! The order of a merged list: the patch's elements in the patch's order, the others in theirs, and the two interleaved
//! by their order in the pod (Go: `normalizeElementOrder`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::scalar::Scalar;

/// The order of the elements of `merged`, as indices. All three arguments are the elements' keys: after merging, in the
/// patch (or in its directive), and in the original pod.
pub(super) fn arrange(merged: &[Scalar<'_>], patch: &[Scalar<'_>], server: &[Scalar<'_>]) -> Vec<usize> {
    let (patch, server) = (Ranks::of(patch), Ranks::of(server));
    let (mut wanted, mut others) = (Vec::with_capacity(merged.len()), Vec::with_capacity(merged.len()));
    for (at, key) in merged.iter().enumerate() {
        let item = Item { at, server: server.rank(key) };
        match patch.rank(key) {
            Some(place) => wanted.push((Some(place), item)),
            None => others.push((item.server, item)),
        }
    }
    sort(&mut wanted);
    sort(&mut others);
    interleave(&others, &wanted)
}

/// Permutes the elements into the given order.
pub(super) fn permute(list: &mut Vec<Value>, order: &[usize]) {
    if order.iter().enumerate().all(|(at, from)| at == *from) {
        return;
    }
    let mut taken: Vec<Option<Value>> = list.drain(..).map(Some).collect();
    list.extend(order.iter().filter_map(|from| taken.get_mut(*from).and_then(Option::take)));
}

#[derive(Clone, Copy)]
struct Item {
    at: usize,
    server: Option<usize>,
}

/// The first position of each key. Few keys are searched linearly, which is faster than building an index.
pub(super) struct Ranks<'a> {
    keys: Vec<Scalar<'a>>,
    /// Empty as long as there are few keys.
    places: BTreeMap<Scalar<'a>, usize>,
}

/// The largest number of keys that is searched linearly.
const FEW: usize = 16;

impl<'a> Ranks<'a> {
    pub(super) fn of(keys: &[Scalar<'a>]) -> Ranks<'a> {
        let mut ranks = Ranks { keys: Vec::with_capacity(keys.len()), places: BTreeMap::new() };
        for key in keys {
            ranks.push(*key);
        }
        ranks
    }

    pub(super) fn push(&mut self, key: Scalar<'a>) {
        self.keys.push(key);
        match self.keys.len() - 1 {
            at if at > FEW => {
                self.places.entry(key).or_insert(at);
            }
            FEW => {
                for (at, key) in self.keys.iter().enumerate() {
                    self.places.entry(*key).or_insert(at);
                }
            }
            _ => {}
        }
    }

    pub(super) fn rank(&self, key: &Scalar<'_>) -> Option<usize> {
        if self.keys.len() <= FEW {
            self.keys.iter().position(|known| known == key)
        } else {
            self.places.get(key).copied()
        }
    }

    /// All keys, in their original order.
    pub(super) fn keys(&self) -> &[Scalar<'a>] {
        &self.keys
    }
}

/// Go's `normalizeSliceOrder`. An element without a rank compares as less than any preceding one, so it moves to the
/// front; this is not a valid order for sorting, and the result depends on Go's insertion sort.
fn sort(items: &mut [(Option<usize>, Item)]) {
    if items.iter().all(|(rank, _)| rank.is_some()) {
        items.sort_by_key(|(rank, _)| *rank);
        return;
    }
    let less = |items: &[(Option<usize>, Item)], at: usize| match (items.get(at), items.get(at - 1)) {
        (Some((Some(this), _)), Some((Some(before), _))) => this < before,
        _ => true,
    };
    for end in 1..items.len() {
        let mut at = end;
        while at > 0 && less(items, at) {
            items.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// Go's `mergeSortedSlice`: an element that only the pod has comes before the patch's next one if it did in the pod,
/// else after it.
fn interleave(others: &[(Option<usize>, Item)], wanted: &[(Option<usize>, Item)]) -> Vec<usize> {
    let mut order = Vec::with_capacity(others.len() + wanted.len());
    let (mut others, mut wanted) = (others.iter().peekable(), wanted.iter().peekable());
    loop {
        let other_first = match (others.peek(), wanted.peek()) {
            (Some((_, other)), Some((_, wanted))) => {
                matches!((other.server, wanted.server), (Some(other), Some(wanted)) if other < wanted)
            }
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return order,
        };
        let next = if other_first { others.next() } else { wanted.next() };
        order.extend(next.map(|(_, item)| item.at));
    }
}
