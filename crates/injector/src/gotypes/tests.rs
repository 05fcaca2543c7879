use serde_json::Value;

use gotemplate::gotypes::{Field, Kind};
use istio_config::gotypes::{BETA_PROXY_CONFIG, MESH_CONFIG, PROXY_CONFIG};

use super::*;

/// What a Go path leads to in a document, by the tables alone.
fn follow<'a>(root: &'static Type, document: &'a Value, path: &str) -> Result<&'a Value, String> {
    let mut value = document;
    let mut inner: Option<&'static Kind> = None;
    for step in path.trim_start_matches('.').split('.') {
        let mut kind = inner;
        while let Some(Kind::Pointer(target)) = kind {
            kind = Some(target);
        }
        let lost = || format!("{path}: nothing at {step} in {value}");
        match kind {
            Some(Kind::List(item)) => {
                let index: usize = step.parse().map_err(|_| lost())?;
                (inner, value) = (Some(*item), value.get(index).ok_or_else(lost)?);
            }
            Some(Kind::Map(item)) => (inner, value) = (Some(*item), value.get(step).ok_or_else(lost)?),
            Some(Kind::Struct(_)) | None => {
                let ty = kind.and_then(Kind::message).unwrap_or(root);
                let field =
                    ty.field_by_go(step).ok_or_else(|| format!("{path}: no {step} in {}", ty.name))?;
                if ty.field_by_json(field.json).map(|field| field.go) != Some(step) {
                    return Err(format!("{path}: {} leads elsewhere", field.json));
                }
                (inner, value) = (Some(&field.kind), value.get(field.json).ok_or_else(lost)?);
            }
            Some(other) => return Err(format!("{path}: no {step} in {other:?}")),
        }
    }
    while let Some(Kind::Pointer(target)) = inner {
        inner = Some(target);
    }
    match inner {
        Some(Kind::String | Kind::StringValue) => Ok(value),
        other => Err(format!("{path}: a string in Go, here {other:?}")),
    }
}

fn root(ident: &str) -> &'static Type {
    match ident {
        "POD_SPEC" => &POD_SPEC,
        "OBJECT_META" => &OBJECT_META,
        "TYPE_META" => &TYPE_META,
        "NAMESPACED_NAME" => &NAMESPACED_NAME,
        "MESH_CONFIG" => &MESH_CONFIG,
        "PROXY_CONFIG" => &PROXY_CONFIG,
        "BETA_PROXY_CONFIG" => &BETA_PROXY_CONFIG,
        other => panic!("no table {other}"),
    }
}

/// Every struct below the roots, once.
fn all_types() -> Vec<&'static Type> {
    fn collect(ty: &'static Type, seen: &mut Vec<&'static Type>) {
        if seen.iter().any(|known| std::ptr::eq(*known, ty)) {
            return;
        }
        seen.push(ty);
        for field in ty.fields {
            let mut kind = &field.kind;
            while let Kind::Pointer(inner) | Kind::List(inner) | Kind::Map(inner) = kind {
                kind = inner;
            }
            if let Kind::Struct(ty) = kind {
                collect(ty, seen);
            }
        }
    }
    let mut seen = Vec::new();
    for ident in
        ["POD_SPEC", "OBJECT_META", "TYPE_META", "NAMESPACED_NAME", "MESH_CONFIG", "BETA_PROXY_CONFIG"]
    {
        collect(root(ident), &mut seen);
    }
    seen
}

#[test]
fn go_paths_lead_to_what_go_wrote_there() {
    let fixture = include_str!("../../tests/fixtures/gotypes.json");
    let fixture: Vec<Value> = serde_json::from_str(fixture).unwrap();
    let mut followed = 0;
    for filled in &fixture {
        let ty = root(filled["root"].as_str().unwrap());
        for path in filled["paths"].as_array().unwrap() {
            let path = path.as_str().unwrap();
            assert_eq!(follow(ty, &filled["document"], path).unwrap(), path);
            followed += 1;
        }
    }
    assert!(followed > 1000, "{followed}");
}

#[test]
fn tables_are_sorted_and_have_no_double() {
    let types = all_types();
    assert!(types.len() > 150, "{}", types.len());
    for ty in types {
        assert!(ty.fields.is_sorted_by(|a, b| a.go < b.go), "{}", ty.name);
        for field in ty.fields {
            assert_eq!(ty.field_by_json(field.json).unwrap().go, field.go, "{}", ty.name);
            if let Kind::Enum(values) = field.kind {
                assert_eq!(values.values[0].1, 0, "{}", values.name);
            }
        }
    }
}

#[test]
fn getters_are_of_messages_only() {
    let tracing = PROXY_CONFIG.field_by_getter("GetTracing").unwrap().kind.message().unwrap();
    let settings = tracing.field_by_getter("GetTlsSettings").unwrap().kind.message().unwrap();
    assert_eq!(settings.field_by_getter("GetCaCertificates").unwrap().json, "caCertificates");
    assert!(
        PROXY_CONFIG.field_by_getter("Tracing").is_none() && PROXY_CONFIG.field_by_getter("GetX").is_none()
    );
    assert!(POD_SPEC.field_by_getter("GetContainers").is_none());
}

#[test]
fn enums_know_their_names_and_numbers() {
    let Some(Kind::Enum(mode)) = PROXY_CONFIG.field_by_go("InterceptionMode").map(|field| &field.kind) else {
        panic!("no enum")
    };
    assert_eq!((mode.number("TPROXY"), mode.number("tproxy")), (Some(1), None));
    assert_eq!((mode.value_name(2), mode.value_name(9)), (Some("NONE"), None));
}

#[test]
fn unions_are_of_fields_that_there_are() {
    let types = all_types();
    for union in UNIONS {
        let ty = types.iter().find(|ty| ty.name == union.of).unwrap_or_else(|| panic!("{}", union.of));
        assert!(union_of(ty).is_some_and(|found| std::ptr::eq(found, union)), "{} has two", union.of);
        assert!(union.members.is_sorted() && !union.members.is_empty(), "{}", union.of);
        for member in union.members.iter().chain(&union.discriminator) {
            assert!(ty.field_by_json(member).is_some(), "{}.{member}", union.of);
        }
    }
}

/// The generator checks this, too; this test compares the two tables when only one of them was regenerated.
#[test]
fn what_has_nothing_but_optional_structs_is_a_union() {
    for ty in all_types().iter().filter(|ty| ty.name.starts_with("v1.") && !ty.proto) {
        let is_struct = |field: &Field| matches!(field.kind, Kind::Pointer(Kind::Struct(_)));
        if ty.fields.len() > 1 && ty.fields.iter().all(is_struct) && ty.name != "v1.Affinity" {
            assert_eq!(union_of(ty).map(|union| union.members.len()), Some(ty.fields.len()), "{}", ty.name);
        }
    }
}
