//! Versions of kubelets.

use std::sync::LazyLock;

use regex::Regex;

/// The second segment of a version as hashicorp/go-version's `NewVersion` reads it; a missing one is 0.
pub(super) fn minor(version: &str) -> Option<u64> {
    static VERSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r"^v?([0-9]+(\.[0-9]+)*?)",
            r"(-([0-9]+[0-9A-Za-z\-~]*(\.[0-9A-Za-z\-~]+)*)|(-?([A-Za-z\-~]+[0-9A-Za-z\-~]*(\.[0-9A-Za-z\-~]+)*)))?",
            r"(\+([0-9A-Za-z\-~]+(\.[0-9A-Za-z\-~]+)*))?$",
        ))
        .ok()
    });
    let captures = VERSION.as_ref()?.captures(version)?;
    let segments: Vec<i64> =
        captures.get(1)?.as_str().split('.').map(|segment| segment.parse().ok()).collect::<Option<_>>()?;
    u64::try_from(segments.get(1).copied().unwrap_or(0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// O-11: `hack/oracle/annotations` asked hashicorp/go-version.
    #[test]
    fn reads_versions_as_go_version_does() {
        let fixture = include_str!("../../../tests/fixtures/annotations.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
        for (version, expected) in fixture["minor"].as_object().unwrap() {
            assert_eq!(minor(version), expected.as_u64(), "{version:?}");
        }
    }
}
