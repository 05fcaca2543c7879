//! Compares the table with the struct tags of the Go types (`hack/oracle/podschema`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Merge, ROWS, Type, key_of_list};

#[derive(Deserialize)]
struct Fixture {
    module: String,
    root: String,
    types: BTreeMap<String, Vec<Field>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Field {
    name: String,
    kind: String,
    #[serde(default)]
    of: String,
    #[serde(default)]
    elements: String,
    #[serde(default)]
    patch_strategy: String,
    #[serde(default)]
    patch_merge_key: String,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../../tests/fixtures/podschema.json")).unwrap()
}

/// Every field that merging can reach, with the table's type of its object.
fn reachable(fixture: &Fixture) -> Vec<(Type, &str, &Field)> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![(Type::Pod, fixture.root.as_str())];
    while let Some((ty, go)) = open.pop() {
        if !seen.insert((format!("{ty:?}"), go)) {
            continue;
        }
        for field in &fixture.types[go] {
            found.push((ty, go, field));
            // The elements of a list that is replaced as a whole are never merged.
            let merges = field.kind == "struct" || field.elements == "struct" && strategy(field).is_some();
            if merges {
                let below = match ty.field(&field.name) {
                    Some(Merge::Object(below) | Merge::Keyed(_, below)) => below,
                    Some(Merge::Set) | None => Type::Plain,
                };
                open.push((below, &field.of));
            }
        }
    }
    found
}

/// The merge strategy that Go's `extractRetainKeysPatchStrategy` leaves of the tag.
fn strategy(field: &Field) -> Option<&str> {
    field.patch_strategy.split(',').find(|strategy| !strategy.is_empty() && *strategy != "retainKeys")
}

#[test]
fn says_what_the_go_types_say_of_every_list_and_map() {
    let fixture = fixture();
    let fields = reachable(&fixture);
    let (mut lists, mut maps) = (0, 0);
    for (ty, go, field) in &fields {
        let row = ty.field(&field.name);
        let place = format!("{go}.{} in {}", field.name, fixture.module);
        match field.kind.as_str() {
            "list" => {
                lists += 1;
                match (strategy(field), field.patch_merge_key.as_str()) {
                    (None, "") => assert_eq!(row, None, "{place} is atomic"),
                    (Some("merge"), "") => assert_eq!(row, Some(Merge::Set), "{place} is a set"),
                    (Some("merge"), key) => match row {
                        Some(Merge::Keyed(ours, _)) => assert_eq!(ours, key, "{place}"),
                        other => panic!("{place} has the key {key}, the table says {other:?}"),
                    },
                    other => panic!("{place} has unknown tags: {other:?}"),
                }
            }
            // Maps in a pod are never replaced as a whole; otherwise, merging would need a row for it.
            "struct" | "map" => {
                maps += 1;
                assert_eq!(strategy(field), None, "{place}");
                assert!(matches!(row, None | Some(Merge::Object(_))), "{place}: {row:?}");
            }
            _ => assert_eq!((row, strategy(field)), (None, None), "{place} is a scalar"),
        }
    }
    assert!(lists > 60 && maps > 100, "{lists} lists, {maps} maps: the fixture shrank");
}

#[test]
fn has_no_row_that_the_go_types_do_not_have() {
    let fixture = fixture();
    let fields = reachable(&fixture);
    for row in ROWS {
        assert!(
            fields.iter().any(|(ty, _, field)| *ty == row.of && field.name == row.field),
            "{:?}.{} is in the table only",
            row.of,
            row.field
        );
    }
}

#[test]
fn has_one_row_for_a_field() {
    for (at, row) in ROWS.iter().enumerate() {
        assert!(!ROWS[..at].iter().any(|other| other.of == row.of && other.field == row.field), "{row:?}");
    }
}

#[test]
fn lists_of_one_name_have_one_key() {
    for row in ROWS {
        if let Merge::Keyed(key, _) = row.merge {
            assert_eq!(key_of_list(row.field), Some(key), "{row:?}");
        }
    }
}
