//! Compares lists: matches old and new elements, and derives the operations.

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

use super::{Differ, Operation};
use crate::merge::schema;
use crate::place::Place;

/// If more elements than this move, the list is replaced as a whole: tracking their positions takes time proportional
/// to their number times the list's length.
const MOST_MOVES: usize = 64;

/// Identifies an element: its key or value, and its ordinal among equal elements.
type Identity<'v> = (&'v Value, usize);

/// The origin of an element of the new list. The numbers are indices in the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The same element, in order.
    Kept(usize),
    /// Replaces a removed element.
    InPlaceOf(usize),
    /// The same element, moved.
    Moved(usize),
    /// A new element.
    New,
}

impl<'v> Differ<'v> {
    /// Compares two lists (`whole` is the second), and returns whether any part of the first one stays.
    pub(super) fn list(
        &mut self,
        from: &'v [Value],
        to: &'v [Value],
        whole: &'v Value,
        field: Option<&str>,
        place: &Place<'_>,
    ) -> bool {
        let start = self.operations.len();
        let key = field.and_then(schema::key_of_list);
        let same = |(a, b): &(&Value, &Value)| identity(a, key) == identity(b, key);
        let shorter = from.len().min(to.len());
        let head = from.iter().zip(to).take_while(same).count();
        let tail = from.iter().rev().zip(to.iter().rev()).take(shorter - head).take_while(same).count();
        let old = from.get(head..from.len() - tail).unwrap_or_default();
        let new = to.get(head..to.len() - tail).unwrap_or_default();

        let mut stays = head + tail > 0 || (from.is_empty() && to.is_empty());
        for (at, (before, after)) in from.iter().zip(to).take(head).enumerate() {
            self.value(before, after, None, &place.element(at));
        }
        let Some(any) = self.between(head, tail, old, new, key, place) else {
            self.operations.truncate(start);
            self.replace(whole, place);
            return false;
        };
        stays |= any;
        let ends = from.iter().skip(from.len() - tail).zip(to.iter().enumerate().skip(to.len() - tail));
        for (before, (at, after)) in ends {
            self.value(before, after, None, &place.element(at));
        }
        self.settle(start, stays, whole, place);
        stays
    }

    /// Compares the elements between the common ends; `None` if too many of them moved.
    fn between(
        &mut self,
        head: usize,
        tail: usize,
        old: &'v [Value],
        new: &'v [Value],
        key: Option<&str>,
        place: &Place<'_>,
    ) -> Option<bool> {
        if old.is_empty() && new.is_empty() {
            return Some(false);
        }
        let sources = sources(old, new, key);
        let moves = sources.iter().filter(|source| matches!(source, Source::Moved(_))).count();
        if moves > MOST_MOVES {
            return None;
        }
        let mut remaining = self.remove_gone(head, old.len(), &sources, place);
        let mut stays = false;
        // The index of the next element. As long as elements to be moved are in between, `remaining` has the positions
        // of the others.
        let mut at = 0;
        for (source, after) in sources.into_iter().zip(new) {
            match source {
                Source::Kept(from) | Source::InPlaceOf(from) => {
                    if moves > 0 {
                        at += remaining.iter().skip(at).position(|place| *place == Some(from)).unwrap_or(0);
                    }
                }
                Source::Moved(from) => {
                    let found = remaining.iter().position(|place| *place == Some(from)).unwrap_or(at);
                    remaining.remove(found);
                    at -= usize::from(found < at);
                    remaining.insert(at, Some(from));
                    if found != at {
                        let path = |at: usize| place.element(head + at).pointer();
                        let operation = Operation::Move { from: path(found), path: path(at) };
                        self.operations.push(operation);
                    }
                }
                Source::New => {
                    let last = at == remaining.len() && tail == 0;
                    let path = if last { place.end() } else { place.element(head + at) }.pointer();
                    self.operations.push(Operation::Add { path, value: Cow::Borrowed(after) });
                    remaining.insert(at, None);
                }
            }
            if let Source::Kept(from) | Source::InPlaceOf(from) | Source::Moved(from) = source {
                // A keyed element that replaced another one is a different element, even if fields match.
                let other = matches!(source, Source::InPlaceOf(_)) && keyed(after, key);
                let before = old.get(from).filter(|_| !other);
                let place = place.element(head + at);
                match before {
                    Some(before) => stays |= self.value(before, after, None, &place),
                    None => self.replace(after, &place),
                }
            }
            at += 1;
        }
        Some(stays)
    }

    /// Removes the elements without a successor, the last one first, and returns the indices of the others.
    fn remove_gone(
        &mut self,
        head: usize,
        old: usize,
        sources: &[Source],
        place: &Place<'_>,
    ) -> Vec<Option<usize>> {
        let mut remains = vec![false; old];
        for source in sources {
            if let Source::Kept(from) | Source::InPlaceOf(from) | Source::Moved(from) = source
                && let Some(remains) = remains.get_mut(*from)
            {
                *remains = true;
            }
        }
        for (at, _) in remains.iter().enumerate().rev().filter(|(_, remains)| !**remains) {
            self.operations.push(Operation::Remove { path: place.element(head + at).pointer() });
        }
        remains.iter().enumerate().filter(|(_, remains)| **remains).map(|(at, _)| Some(at)).collect()
    }
}

/// Whether an element is identified by its key.
fn keyed(element: &Value, key: Option<&str>) -> bool {
    key.is_some_and(|key| element.get(key).is_some())
}

/// What identifies an element: its key if it has one, else its whole value.
fn identity<'v>(element: &'v Value, key: Option<&str>) -> (bool, &'v Value) {
    match key.and_then(|key| element.get(key)) {
        Some(value) => (true, value),
        None => (false, element),
    }
}

/// Determines the origin of each new element.
fn sources(old: &[Value], new: &[Value], key: Option<&str>) -> Vec<Source> {
    if old.is_empty() {
        return vec![Source::New; new.len()];
    }
    if new.is_empty() {
        return Vec::new();
    }
    let mut places: HashMap<(bool, Identity<'_>), usize> = HashMap::with_capacity(old.len());
    for (at, ((keyed, value), nth)) in numbered(old, key).enumerate() {
        places.insert((keyed, (value, nth)), at);
    }
    let matched: Vec<Option<usize>> =
        numbered(new, key).map(|((keyed, value), nth)| places.get(&(keyed, (value, nth))).copied()).collect();
    let in_order = longest_rise(&matched);

    let mut gone = vec![true; old.len()];
    for from in matched.iter().flatten() {
        if let Some(gone) = gone.get_mut(*from) {
            *gone = false;
        }
    }
    // Going backwards, the next kept element bounds the elements that a new one may replace.
    let mut bound = old.len();
    let mut bounds: Vec<usize> = Vec::with_capacity(new.len());
    for (from, kept) in matched.iter().zip(&in_order).rev() {
        bounds.push(bound);
        if let (Some(from), true) = (from, kept) {
            bound = *from;
        }
    }
    bounds.reverse();
    let mut candidates = gone.iter().enumerate().filter(|(_, gone)| **gone).map(|(at, _)| at).peekable();
    let mut passed = None;
    matched
        .iter()
        .zip(in_order)
        .zip(bounds)
        .map(|((from, kept), bound)| match from {
            Some(from) if kept => {
                passed = Some(*from);
                Source::Kept(*from)
            }
            Some(from) => Source::Moved(*from),
            None => {
                while candidates.next_if(|at| passed.is_some_and(|passed| *at < passed)).is_some() {}
                candidates.next_if(|at| *at < bound).map_or(Source::New, Source::InPlaceOf)
            }
        })
        .collect()
}

/// The elements' identities, each with the number of equal ones before it.
fn numbered<'v>(list: &'v [Value], key: Option<&'v str>) -> impl Iterator<Item = ((bool, &'v Value), usize)> {
    let mut seen: HashMap<(bool, &Value), usize> = HashMap::with_capacity(list.len());
    list.iter().map(move |element| {
        let identity = identity(element, key);
        let count = seen.entry(identity).or_insert(0);
        *count += 1;
        (identity, *count)
    })
}

/// Which of the numbers belong to a longest increasing subsequence. All numbers are different.
fn longest_rise(numbers: &[Option<usize>]) -> Vec<bool> {
    // For each length, the increasing sequence that ends lowest: its last index, and its last number.
    let mut ends: Vec<(usize, usize)> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; numbers.len()];
    for (at, number) in numbers.iter().enumerate() {
        let Some(number) = *number else { continue };
        let length = ends.partition_point(|(_, last)| *last < number);
        if let Some(before) = before.get_mut(at) {
            *before = length.checked_sub(1).and_then(|shorter| ends.get(shorter)).map(|(at, _)| *at);
        }
        match ends.get_mut(length) {
            Some(end) => *end = (at, number),
            None => ends.push((at, number)),
        }
    }
    let mut rises = vec![false; numbers.len()];
    let mut next = ends.last().map(|(at, _)| *at);
    while let Some(at) = next {
        if let Some(rises) = rises.get_mut(at) {
            *rises = true;
        }
        next = before.get(at).copied().flatten();
    }
    rises
}
