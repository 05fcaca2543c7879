//! Merges two lists: determines what is kept, merged and deleted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::directive::{self, Copying};
use super::order::{Ranks, arrange, permute};
use super::scalar::{Kind, Scalar};
use super::schema::{Merge, Type};
use super::{Error, Merger, bad_directive, has_directives, said};
use crate::place::Place;

const OF_POD: &str = "of the pod";
const OF_PATCH: &str = "of the patch";
const OF_DIRECTIVE: &str = "of its directive";

impl Merger {
    /// Go's `mergeSliceHandler`.
    pub(super) fn list(
        &self,
        original: &mut Vec<Value>,
        patch: Vec<Value>,
        merge: Option<Merge>,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        match merge {
            Some(Merge::Keyed(key, element)) => self.keyed_list(original, patch, key, element, path),
            Some(Merge::Set) => set(original, &patch, path),
            Some(Merge::Object(_)) | None => {
                *original = directive::taken_list(patch, self.copying(Copying::Raw));
                Ok(())
            }
        }
    }

    /// Go's `mergeSlice` for objects.
    fn keyed_list(
        &self,
        original: &mut Vec<Value>,
        patch: Vec<Value>,
        key: &'static str,
        element: Type,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        let Some(kind) = kind_of_elements(original, &patch, path)? else { return Ok(()) };
        objects_only(kind, path)?;
        let steers = |element: &Value| element.as_object().is_some_and(has_directives);
        let matching = if self.honors() && patch.iter().any(steers) {
            None
        } else {
            Matching::of(original, &patch, key, path)?
        };
        let Some(Matching { targets, order }) = matching else {
            return self.list_with_directives(original, &patch, key, element, path);
        };
        for (new, target) in patch.into_iter().zip(targets) {
            match (original.get_mut(target), new) {
                (Some(Value::Object(original)), Value::Object(new)) => {
                    self.object(original, new, element, &path.element(target))?;
                }
                (_, new) => original.extend(directive::taken(new, self.copying(Copying::Raw))),
            }
        }
        permute(original, &order);
        Ok(())
    }

    /// [`Merger::keyed_list`] if directives may delete elements, or if the keys do not identify all elements.
    fn list_with_directives(
        &self,
        original: &mut Vec<Value>,
        patch: &[Value],
        key: &'static str,
        element: Type,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        let whole = self.obey_elements(original, patch, key, path)?;
        let patch: Vec<&Value> =
            patch.iter().filter(|element| self.directive_in(element).is_none()).collect();
        if whole {
            original.clear();
            let new = patch.iter().copied().cloned();
            original.extend(new.filter_map(|new| directive::taken(new, self.copying(Copying::Raw))));
        }
        let server = original.len();
        if !whole {
            self.merge_elements(original, &patch, key, element, path)?;
        }
        let merged = keys(original.iter(), key, OF_POD, path)?;
        let wanted = keys(patch, key, OF_PATCH, path)?;
        let order = arrange(&merged, &wanted, merged.get(..server).unwrap_or_default());
        permute(original, &order);
        Ok(())
    }

    /// Deletes the elements with `$patch: delete`, and returns whether one has `$patch: replace` (Go:
    /// `mergeSliceWithSpecialElements`).
    fn obey_elements(
        &self,
        original: &mut Vec<Value>,
        patch: &[Value],
        key: &'static str,
        path: &Place<'_>,
    ) -> Result<bool, Error> {
        let mut whole = false;
        for (at, element) in patch.iter().enumerate() {
            let Some(directive) = self.directive_in(element) else { continue };
            match directive.as_str() {
                Some("delete") => {
                    let gone = key_of(element, key, OF_PATCH, path)?;
                    original.retain(|kept| kept.get(key).and_then(Scalar::of) != Some(gone));
                }
                Some("replace") => whole = true,
                _ => {
                    let accepted = "`replace` or `delete`";
                    return Err(bad_directive(
                        directive::PATCH,
                        said(directive),
                        accepted,
                        &path.element(at),
                    ));
                }
            }
        }
        Ok(whole)
    }

    /// Merges each element into the one with the same key, or appends it (Go: `mergeSliceWithoutSpecialElements`).
    fn merge_elements(
        &self,
        original: &mut Vec<Value>,
        patch: &[&Value],
        key: &'static str,
        ty: Type,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        let mut places = BTreeMap::new();
        for (at, element) in original.iter().enumerate() {
            if element.get(key).is_some() {
                places.entry(key_of(element, key, OF_POD, path)?).or_insert(at);
            }
        }
        let mut end = original.len();
        let mut targets = Vec::with_capacity(patch.len());
        for element in patch {
            targets.push(*places.entry(key_of(element, key, OF_PATCH, path)?).or_insert_with(|| {
                end += 1;
                end - 1
            }));
        }
        for (element, target) in patch.iter().zip(targets) {
            match (original.get_mut(target), element) {
                (Some(Value::Object(original)), Value::Object(element)) => {
                    self.object(original, element.clone(), ty, &path.element(target))?;
                }
                _ => original.extend(directive::taken(Value::clone(element), self.copying(Copying::Raw))),
            }
        }
        Ok(())
    }

    /// Merges a list and orders it by its `$setElementOrder`.
    pub(super) fn ordered_list(
        &self,
        original: &mut Vec<Value>,
        patch: Option<&Vec<Value>>,
        order: &[Value],
        merge: Option<Merge>,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        let key = key_of_elements(merge);
        let patch = patch.map(Vec::as_slice);
        check_order(patch.unwrap_or_default(), order, key, path)?;
        let Some(kind) = kind_of_elements(original, patch.unwrap_or_default(), path)? else {
            return Err(Error::NothingToOrder { path: path.dotted() });
        };
        let before = original.clone();
        if let Some(patch) = patch {
            self.list(original, patch.to_vec(), merge, path)?;
        }
        let Some(key) = key else {
            return order_scalars(original, order, &before, path);
        };
        objects_only(kind, path)?;
        let server = self.live_order(&before, patch.unwrap_or_default(), key, path)?;
        order_objects(original, order, key, &server, path)
    }

    /// The keys of a list before merging, as far as Go's record of the order still has them: Go merges in place, so the
    /// patch's new elements occupy the places of deleted ones, and can follow elements that only the pod has.
    fn live_order<'v>(
        &self,
        before: &'v [Value],
        patch: &'v [Value],
        key: &'static str,
        path: &Place<'_>,
    ) -> Result<Vec<Scalar<'v>>, Error> {
        let mut live = keys(before, key, OF_POD, path)?;
        let said = |element: &Value, what: &str| self.directive_in(element).is_some_and(|said| said == what);
        let gone: BTreeSet<_> = patch
            .iter()
            .filter(|element| said(element, "delete"))
            .filter_map(|e| Scalar::of(e.get(key)?))
            .collect();
        live.retain(|key| !gone.contains(key));
        if patch.iter().any(|element| said(element, "replace")) {
            return Ok(live);
        }
        let mut known: BTreeSet<_> = live.iter().copied().collect();
        for element in patch.iter().filter(|element| self.directive_in(element).is_none()) {
            let key = key_of(element, key, OF_PATCH, path)?;
            if live.len() < before.len() && known.insert(key) {
                live.push(key);
            }
        }
        Ok(live)
    }

    /// Orders a new list.
    pub(super) fn order_created(
        &self,
        created: &mut Vec<Value>,
        patch: &[Value],
        order: &[Value],
        merge: Option<Merge>,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        let key = key_of_elements(merge);
        check_order(patch, order, key, path)?;
        let Some(kind) = kind_of_elements(&[], patch, path)? else {
            return Err(Error::NothingToOrder { path: path.dotted() });
        };
        match key {
            None => order_scalars(created, order, &[], path),
            Some(key) => {
                objects_only(kind, path)?;
                order_objects(created, order, key, &[], path)
            }
        }
    }

    /// Removes elements from a list of scalars. In a list of objects, Go merges them instead.
    pub(super) fn delete_elements(
        &self,
        original: &mut Vec<Value>,
        elements: &[Value],
        merge: Option<Merge>,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        match kind_of_elements(original, elements, path)? {
            Some(Kind::Map) => match merge {
                Some(Merge::Keyed(..)) => self.list(original, elements.to_vec(), merge, path),
                _ => Err(bad_element(Kind::Map, "a scalar", path)),
            },
            _ => {
                let gone: BTreeSet<_> = elements.iter().filter_map(Scalar::of).collect();
                original.retain(|element| Scalar::of(element).is_none_or(|kept| !gone.contains(&kept)));
                Ok(())
            }
        }
    }

    fn directive_in<'v>(&self, element: &'v Value) -> Option<&'v Value> {
        element.get(directive::PATCH).filter(|_| self.directives == super::Directives::Honor)
    }
}

/// Which element of a patch goes where, according to the keys.
struct Matching {
    /// For each element of the patch, the index of the one it is merged into; indices beyond the end are new elements.
    targets: Vec<usize>,
    /// The order of the merged elements, as indices.
    order: Vec<usize>,
}

impl Matching {
    /// `None` if a key is absent, or null, which merging removes: then only the merged elements show the order.
    fn of(
        original: &[Value],
        patch: &[Value],
        key: &'static str,
        path: &Place<'_>,
    ) -> Result<Option<Matching>, Error> {
        let mut merged = Ranks::of(&[]);
        for element in original {
            if element.get(key).is_none() {
                return Ok(None);
            }
            merged.push(key_of(element, key, OF_POD, path)?);
        }
        let wanted = keys(patch, key, OF_PATCH, path)?;
        if wanted.contains(&Scalar::Null) {
            return Ok(None);
        }
        let mut targets = Vec::with_capacity(wanted.len());
        for key in &wanted {
            let target = merged.rank(key).unwrap_or_else(|| {
                merged.push(*key);
                merged.keys().len() - 1
            });
            targets.push(target);
        }
        let server = merged.keys().get(..original.len()).unwrap_or_default();
        let order = arrange(merged.keys(), &wanted, server);
        Ok(Some(Matching { targets, order }))
    }
}

/// Go's `mergeSlice` for scalars.
fn set(original: &mut Vec<Value>, patch: &[Value], path: &Place<'_>) -> Result<(), Error> {
    match kind_of_elements(original, patch, path)? {
        None => return Ok(()),
        Some(Kind::Map) => return Err(bad_element(Kind::Map, "a scalar", path)),
        Some(_) => {}
    }
    let before = std::mem::take(original);
    let mut merged: Vec<Scalar<'_>> = Vec::with_capacity(before.len() + patch.len());
    let mut seen = BTreeSet::new();
    for element in before.iter().chain(patch) {
        if let Some(scalar) = Scalar::of(element).filter(|scalar| seen.insert(*scalar)) {
            merged.push(scalar);
            original.push(element.clone());
        }
    }
    let server: Vec<_> = before.iter().filter_map(Scalar::of).collect();
    let wanted: Vec<_> = patch.iter().filter_map(Scalar::of).collect();
    let order = arrange(&merged, &wanted, &server);
    permute(original, &order);
    Ok(())
}

/// Go's `validatePatchWithSetOrderList`: the directive contains the patch's elements, in the same order.
fn check_order(
    patch: &[Value],
    order: &[Value],
    key: Option<&'static str>,
    path: &Place<'_>,
) -> Result<(), Error> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut stay = Vec::with_capacity(patch.len());
    for element in patch {
        if key.is_some() && !element.is_object() {
            return Err(bad_element(Kind::of(element), "an object", path));
        }
        if key.is_none() || element.get(directive::PATCH).is_none_or(|directive| directive != "delete") {
            stay.push(element);
        }
    }
    let (mut stay, mut order) = (stay.into_iter().peekable(), order.iter().peekable());
    while let (Some(element), Some(place)) = (stay.peek(), order.peek()) {
        let matches = match key {
            _ if element.get(directive::PATCH).is_some() => {
                stay.next();
                continue;
            }
            Some(key) => key_of(element, key, OF_PATCH, path)? == key_of(place, key, OF_DIRECTIVE, path)?,
            None => element == place,
        };
        if matches {
            stay.next();
        }
        order.next();
    }
    // After the end of the order, an element with only a directive also counts, as in Go.
    if stay.peek().is_some() { Err(Error::OrderMismatch { path: path.dotted() }) } else { Ok(()) }
}

fn order_objects(
    list: &mut Vec<Value>,
    order: &[Value],
    key: &'static str,
    server: &[Scalar<'_>],
    path: &Place<'_>,
) -> Result<(), Error> {
    let merged = keys(list.iter(), key, OF_POD, path)?;
    let wanted = keys(order, key, OF_DIRECTIVE, path)?;
    let order = arrange(&merged, &wanted, server);
    permute(list, &order);
    Ok(())
}

fn order_scalars(
    list: &mut Vec<Value>,
    order: &[Value],
    server: &[Value],
    path: &Place<'_>,
) -> Result<(), Error> {
    let scalars = |list: &[Value]| -> Result<Vec<()>, Error> {
        list.iter()
            .map(|v| Scalar::of(v).map(|_| ()).ok_or_else(|| bad_element(Kind::of(v), "a scalar", path)))
            .collect()
    };
    scalars(list)?;
    scalars(order)?;
    let merged: Vec<_> = list.iter().filter_map(Scalar::of).collect();
    let wanted: Vec<_> = order.iter().filter_map(Scalar::of).collect();
    let server: Vec<_> = server.iter().filter_map(Scalar::of).collect();
    let order = arrange(&merged, &wanted, &server);
    permute(list, &order);
    Ok(())
}

/// The common kind of all elements, if there are any (Go: `sliceElementType`).
fn kind_of_elements(original: &[Value], patch: &[Value], path: &Place<'_>) -> Result<Option<Kind>, Error> {
    let mut elements = original.iter().chain(patch).map(Kind::of);
    let Some(first) = elements.next() else { return Ok(None) };
    if matches!(first, Kind::List | Kind::Null) {
        return Err(bad_element(first, "an object or a scalar", path));
    }
    match elements.find(|kind| *kind != first) {
        None => Ok(Some(first)),
        Some(other) => Err(bad_element(other, first.name(), path)),
    }
}

fn objects_only(kind: Kind, path: &Place<'_>) -> Result<(), Error> {
    if kind == Kind::Map { Ok(()) } else { Err(bad_element(kind, "an object", path)) }
}

fn bad_element(found: Kind, accepted: &'static str, path: &Place<'_>) -> Error {
    Error::BadElement { path: path.dotted(), found: found.name(), accepted }
}

fn key_of_elements(merge: Option<Merge>) -> Option<&'static str> {
    match merge {
        Some(Merge::Keyed(key, _)) => Some(key),
        _ => None,
    }
}

fn key_of<'v>(
    element: &'v Value,
    key: &'static str,
    of: &'static str,
    path: &Place<'_>,
) -> Result<Scalar<'v>, Error> {
    let Some(object) = element.as_object() else {
        return Err(bad_element(Kind::of(element), "an object", path));
    };
    let Some(value) = object.get(key) else {
        return Err(Error::MissingMergeKey { path: path.dotted(), of, key });
    };
    Scalar::of(value).ok_or_else(|| Error::BadMergeKey {
        path: path.dotted(),
        key,
        found: Kind::of(value).name(),
    })
}

fn keys<'v>(
    elements: impl IntoIterator<Item = &'v Value>,
    key: &'static str,
    of: &'static str,
    path: &Place<'_>,
) -> Result<Vec<Scalar<'v>>, Error> {
    elements.into_iter().map(|element| key_of(element, key, of, path)).collect()
}
