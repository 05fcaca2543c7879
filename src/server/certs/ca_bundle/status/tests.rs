use super::{
    super::assess::tests::{INJECTOR, ca, entry, other, pems},
    *,
};
use crate::server::readiness::Readiness;

const NAME: &str = "outrigger-sidecar-injector";
const TAG: &str = "outrigger-revision-tag-prod";

type Ca = CertificateDer<'static>;
/// The certificates in a caBundle, and its manager.
type Bundle<'a> = (&'a [&'a Ca], &'a str);

pub(super) fn ca_bundles(names: &[&str]) -> (CaBundleStatus, Readiness) {
    let readiness = Readiness::default();
    let kept: Vec<Kept> =
        names.iter().map(|name| Kept { name: (*name).to_owned(), while_of_revision: None }).collect();
    let ca_bundles =
        CaBundleStatus::new(&kept, readiness.gate("ca-bundle", "nothing yet"), CertificateMetrics::default());
    (ca_bundles, readiness)
}

fn entries(bundles: &[Bundle<'_>], ours: &Ca) -> Known {
    Known::Entries(
        bundles
            .iter()
            .map(|(bundle, manager)| entry(&pems(bundle), Some(manager), None, &[ours], &[]))
            .collect(),
    )
}

fn note(
    ca_bundles: &CaBundleStatus,
    name: &str,
    known: Known,
    problem: Option<&str>,
    issuer: &Ca,
) -> Option<Duration> {
    let problem = problem.map(str::to_owned);
    ca_bundles.note(name, Note { known, problem, issuer, leads: true })
}

fn open(readiness: &Readiness) -> bool {
    readiness.states()[0].1.open
}

// A rolling update must not replace callable replicas with one that is not.
#[test]
fn a_replica_is_not_ready_while_every_bundle_trusts_others() {
    let (ours, theirs) = (ca(), other());
    let (ca_bundles, readiness) = ca_bundles(&[NAME]);
    let foreign = || entries(&[(&[&theirs], "argocd"), (&[], "argocd")], &ours);
    assert_eq!(note(&ca_bundles, NAME, foreign(), Some("kept by argocd"), &ours), None);
    let problem = readiness.states()[0].1.problem.clone().unwrap();
    assert!(
        problem.contains("do not trust this replica but trust others") && problem.contains("kept by argocd")
    );
    assert!(!open(&readiness) && ca_bundles.is_refused());
    // Taken over: API servers need a moment to use it.
    let union = || entries(&[(&[&ours, &theirs], INJECTOR)], &ours);
    let left = note(&ca_bundles, NAME, union(), None, &ours).unwrap();
    assert!(left <= HEEDED && left > HEEDED / 2 && !open(&readiness), "{left:?}");
    ca_bundles.lock().trusted = Some(Instant::now().checked_sub(HEEDED).unwrap());
    assert_eq!(note(&ca_bundles, NAME, union(), None, &ours), None);
    assert!(open(&readiness) && !ca_bundles.is_refused());
    // Later problems are notes.
    note(&ca_bundles, NAME, foreign(), Some("kept by argocd"), &ours);
    let state = readiness.states()[0].1.clone();
    assert_eq!((state.open, state.problem.as_deref()), (true, Some("kept by argocd")));
    assert_eq!(state.detail, "", "one truth");
}

#[test]
fn a_bundle_that_is_taken_away_again_is_waited_for_anew() {
    let (ours, theirs) = (ca(), other());
    let (ca_bundles, readiness) = ca_bundles(&[NAME]);
    let foreign = || entries(&[(&[&theirs], "argocd")], &ours);
    note(&ca_bundles, NAME, foreign(), None, &ours);
    note(&ca_bundles, NAME, entries(&[(&[&ours], "argocd")], &ours), None, &ours);
    ca_bundles.lock().trusted = Some(Instant::now().checked_sub(HEEDED).unwrap());
    note(&ca_bundles, NAME, foreign(), None, &ours);
    assert!(note(&ca_bundles, NAME, entries(&[(&[&ours], "argocd")], &ours), None, &ours).is_some());
    assert!(!open(&readiness));
}

#[test]
fn a_replica_that_one_bundle_trusts_or_that_takes_nobodys_place_is_ready_at_once() {
    let (ours, theirs) = (ca(), other());
    let cases: [(&str, &[Bundle<'_>]); 4] = [
        ("ours", &[(&[&ours], "outrigger-ca-bundle")]),
        // Other replicas could not be called through that one either.
        ("nobody's", &[(&[], "helm")]),
        ("some are ours", &[(&[&theirs], "argocd"), (&[&ours], "outrigger-ca-bundle")]),
        ("no entries", &[]),
    ];
    for (what, bundles) in cases {
        let (ca_bundles, readiness) = ca_bundles(&[NAME]);
        assert_eq!(note(&ca_bundles, NAME, entries(bundles, &ours), None, &ours), None, "{what}");
        assert!(open(&readiness), "{what}");
    }
    // The CA of the serving certificate counts, even during a rotation.
    let next = ca();
    let (ca_bundles, readiness) = ca_bundles(&[NAME]);
    note(&ca_bundles, NAME, entries(&[(&[&ours], "outrigger-ca-bundle")], &ours), None, &next);
    assert!(!open(&readiness));
}

#[test]
fn what_cannot_be_looked_at_is_waited_for_until_it_is_known_why() {
    let ours = ca();
    let (ca_bundles, readiness) = ca_bundles(&[NAME, TAG]);
    note(&ca_bundles, NAME, entries(&[(&[&ours], "outrigger-ca-bundle")], &ours), None, &ours);
    assert!(!open(&readiness), "the other one may be kept by somebody else");
    note(&ca_bundles, TAG, Known::Nothing, Some("the role lacks list"), &ours);
    assert!(open(&readiness));
    let (ca_bundles, readiness) = super::tests::ca_bundles(&[NAME, TAG]);
    for name in [NAME, TAG] {
        note(&ca_bundles, name, Known::Missing, Some("is missing"), &ours);
    }
    assert!(open(&readiness));
    assert!(open(&super::tests::ca_bundles(&[]).1));
}
