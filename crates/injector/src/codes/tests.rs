use super::*;
use crate::{inject::decision::Reason, warning::Warning};

#[test]
fn the_table_is_sorted_and_every_code_has_a_kind() {
    assert!(CORE.is_sorted_by_key(|code| code.key), "{CORE:#?}");
    for code in CORE {
        assert!(!code.kinds.is_empty() && !code.summary.is_empty(), "{}", code.key);
        assert_eq!(of_core(code.key), Some(code));
        assert!(code.kinds.iter().filter(|kind| kind.is_warning()).count() <= 1, "{}", code.key);
    }
}

#[test]
fn every_reason_of_a_decision_is_a_skip_or_an_injection() {
    for reason in Reason::ALL {
        let code = of_core(reason.key()).unwrap_or_else(|| panic!("{reason}"));
        assert!(code.is(Kind::Skip) != code.is(Kind::Inject), "{reason}");
    }
}

#[test]
fn only_recorded_codes_are_not_shown() {
    for code in CORE.iter().filter(|code| code.is_warning()) {
        assert_eq!(Warning::new(code.key, "").is_shown(), !code.is(Kind::Record), "{}", code.key);
    }
}

#[test]
fn the_nearest_codes_are_typos_then_parts() {
    let nearest = |typed: &str| nearest(CORE.iter(), typed).iter().map(|code| code.key).collect::<Vec<_>>();
    assert_eq!(nearest("host-netwrok"), ["HOST_NETWORK"]);
    assert_eq!(nearest("mispelt_label")[0], "MISSPELT_LABEL");
    assert_eq!(nearest("windows"), ["WINDOWS_POD", "SKIPPED_WINDOWS_POD"]);
    assert_eq!(nearest("pod windows"), ["WINDOWS_POD", "SKIPPED_WINDOWS_POD"]);
    assert_eq!(nearest("bypass").len(), 3);
    for typed in ["", "-", "weather forecast"] {
        assert!(nearest(typed).is_empty(), "{typed}");
    }
}

#[test]
fn keys_are_found_however_they_are_typed() {
    for typed in ["HOST_NETWORK", "host-network", " Host_Network\n", "host network"] {
        assert_eq!(normalized(typed), "HOST_NETWORK");
    }
}
