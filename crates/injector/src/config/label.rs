//! Kubernetes' syntax of label keys, label values and names.

/// `validation.IsQualifiedName`: a label key.
pub(super) fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(key),
    }
}

/// `validation.IsValidLabelValue`.
pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

/// `validation.IsDNS1123Subdomain`.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_word)
}

/// `validation.IsDNS1123Label`: the syntax of revisions and namespaces.
pub(super) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_word(text)
}

fn is_name_part(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A DNS-1123 label except for its length.
fn is_dns_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(inner) && text.ends_with(inner) && text.chars().all(|c| inner(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_keys_have_an_optional_dns_prefix() {
        let long = "a".repeat(64);
        for key in ["app", "a.B_c-9", "istio.io/rev", "a.b/x"] {
            assert!(is_label_key(key), "{key}");
        }
        for key in ["", "-a", "a-", "a b", "/a", "a/", "a/b/c", "A.b/c", "é", &long] {
            assert!(!is_label_key(key), "{key}");
        }
    }

    #[test]
    fn label_values_may_be_empty() {
        for value in ["", "yes", "A_b.c-1"] {
            assert!(is_label_value(value), "{value}");
        }
        for value in ["a/b", ".a", "a.", "a b", &"a".repeat(64)] {
            assert!(!is_label_value(value), "{value}");
        }
    }

    #[test]
    fn dns_labels_are_lower_case_and_short() {
        for name in ["a", "0", "a-b", &"a".repeat(63)] {
            assert!(is_dns_label(name), "{name}");
        }
        for name in ["", "A", "-a", "a-", "a.b", &"a".repeat(64)] {
            assert!(!is_dns_label(name), "{name}");
        }
        assert!(is_dns_subdomain("node-1.zone.example"));
        assert!(!is_dns_subdomain("node..x"));
    }
}
