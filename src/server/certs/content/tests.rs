use super::*;
use crate::server::certs::{
    change::carry_out,
    plan::{Action, CertificatePolicy, StepReason},
};

const NOW: i64 = 1_800_000_000;
const TERMS: CertificatePolicy =
    CertificatePolicy { ca_lifetime: 1_000_000, leaf_lifetime: 10_000, overlap: 600 };

fn names() -> Vec<String> {
    vec!["outrigger.outrigger-system.svc".to_owned(), "outrigger".to_owned()]
}

fn after(content: &Content, action: Action, now: i64) -> Content {
    carry_out(content, action, &names(), &TERMS, now).unwrap()
}

fn fresh() -> Content {
    after(&Content::default(), Action::StartOver(StepReason::Unusable), NOW)
}

type Data = BTreeMap<String, Vec<u8>>;

fn written(content: &Content) -> (Data, BTreeMap<String, String>) {
    let (data, annotations) = content.write();
    let data = data.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    let annotations =
        annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    (data, annotations)
}

fn reread(content: &Content) -> Content {
    let (data, annotations) = written(content);
    Content::read(&data, &annotations)
}

/// Whether an API server that trusts a bundle accepts a certificate at a given time, for each of our names.
fn accepted(leaf: &Leaf, bundle: &Content, now: i64) -> bool {
    use rustls::client::{WebPkiServerVerifier, danger::ServerCertVerifier};
    let mut roots = RootCertStore::empty();
    for ca in &bundle.trusted {
        roots.add(ca.der.clone()).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.try_into().unwrap()));
    names().iter().all(|name| {
        let name = name.clone().try_into().unwrap();
        verifier.verify_server_cert(&leaf.certified.cert[0], &[], &name, &[], now).is_ok()
    })
}

#[test]
fn what_is_made_is_accepted_by_whoever_trusts_the_bundle() {
    let content = fresh();
    let leaf = content.leaf.as_ref().unwrap();
    assert!(content.whole() && leaf.is_for(&names()));
    assert!(
        accepted(leaf, &content, NOW)
            && accepted(leaf, &content, NOW - 300)
            && accepted(leaf, &content, NOW + 10_000)
    );
    assert!(!accepted(leaf, &content, NOW - 301) && !accepted(leaf, &content, NOW + 10_001));
    assert!(!accepted(leaf, &fresh(), NOW));
}

#[test]
fn what_is_written_reads_the_same() {
    let begun = after(&fresh(), Action::BeginRotation(StepReason::Due), NOW + 1);
    for content in [
        fresh(),
        begun.clone(),
        after(&begun, Action::Confirm, NOW + 2),
        after(&begun, Action::MoveLeaves, NOW + 3),
        after(&after(&begun, Action::MoveLeaves, NOW + 3), Action::DropOldCas, NOW + 4),
    ] {
        let read = reread(&content);
        assert_eq!(read.flaws, Vec::<String>::new());
        assert_eq!(read.state(&names()), content.state(&names()));
        assert_eq!(written(&read), written(&content));
    }
}

// T-06
#[test]
fn in_no_step_of_a_rotation_is_a_leaf_served_that_the_step_before_did_not_trust() {
    let mut steps = vec![fresh()];
    for (at, action) in
        [Action::BeginRotation(StepReason::Due), Action::Confirm, Action::MoveLeaves, Action::DropOldCas]
            .iter()
            .enumerate()
    {
        let last = steps.last().unwrap();
        steps.push(reread(&after(last, *action, NOW + i64::try_from(at).unwrap())));
    }
    for pair in steps.windows(2) {
        let (before, now) = (&pair[0], &pair[1]);
        // API servers and replicas observe a step at different times.
        assert!(accepted(now.leaf.as_ref().unwrap(), before, NOW + 10));
        assert!(accepted(before.leaf.as_ref().unwrap(), now, NOW + 10));
    }
    let (first, last) = (&steps[0], &steps[4]);
    assert!(!accepted(last.leaf.as_ref().unwrap(), first, NOW + 10), "the CA has changed");
    assert_eq!((last.trusted.len(), last.next.is_none(), last.rotation), (1, true, None));
}

#[test]
fn a_leaf_does_not_outlive_its_ca() {
    let late = NOW + TERMS.ca_lifetime - 100;
    let content = after(&fresh(), Action::IssueLeaf(StepReason::Due), late);
    let leaf = content.leaf.unwrap();
    assert_eq!(leaf.validity.not_after, content.trusted[0].validity.not_after);
}

#[test]
fn starting_over_goes_on_trusting_what_may_still_be_served() {
    let mut broken = fresh();
    broken.signer = None;
    let anew = after(&broken, Action::StartOver(StepReason::Unusable), NOW + 5);
    assert_eq!(anew.trusted.len(), 2);
    assert!(accepted(broken.leaf.as_ref().unwrap(), &anew, NOW + 5));
    let much_later = after(&broken, Action::StartOver(StepReason::Expired), NOW + TERMS.ca_lifetime + 5);
    assert_eq!(much_later.trusted.len(), 1);
}

#[test]
fn the_bundle_does_not_grow_without_end() {
    let mut content = fresh();
    for step in 0..30 {
        content = after(&content, Action::StartOver(StepReason::NotYet), NOW + step);
        assert!(content.whole());
    }
    assert_eq!(content.trusted.len(), MOST_CAS);
    assert!(reread(&content).whole());
}

#[test]
fn half_written_secrets_say_what_is_wrong() {
    let (good, annotations) = written(&fresh());
    let (other, _) = written(&fresh());
    let half = |key: &str| good[key][..good[key].len() / 2].to_vec();
    let cases: [(&str, Option<Vec<u8>>, &str); 13] = [
        (CA, None, "ca.crt is missing"),
        (CA, Some(Vec::new()), "ca.crt: found no certificate"),
        (CA, Some(half(CA)), "ca.crt"),
        (CA, Some(other[CA].clone()), "ca.key: it matches no certificate in ca.crt"),
        (CA, Some(good[CERTIFICATE].clone()), "ca.crt: found a certificate that is not a CA certificate"),
        (CA_KEY, None, "ca.key is missing"),
        (CA_KEY, Some(half(CA_KEY)), "ca.key: expected one private key in PEM"),
        (CA_KEY, Some(other[CA_KEY].clone()), "ca.key: it matches no certificate in ca.crt"),
        (CERTIFICATE, None, "tls.crt is missing"),
        (CERTIFICATE, Some(half(CERTIFICATE)), "tls.crt"),
        (CERTIFICATE, Some(other[CERTIFICATE].clone()), "tls.key does not match tls.crt"),
        (KEY, Some(vec![0xff]), "tls.key: found binary data"),
        (KEY, Some(half(KEY)), "tls.key"),
    ];
    for (key, value, flaw) in cases {
        let mut data = good.clone();
        match value {
            Some(value) => data.insert(key.to_owned(), value),
            None => data.remove(key),
        };
        let content = Content::read(&data, &annotations);
        assert!(!content.whole(), "{key}");
        assert!(content.flaws.iter().any(|found| found.contains(flaw)), "{key}: {:?}", content.flaws);
        let keys = [&good, &other].map(|data| String::from_utf8(data[CA_KEY].clone()).unwrap());
        let said = format!("{:?} {content:?}", content.flaws);
        for line in keys.iter().flat_map(|key| key.lines().filter(|line| !line.starts_with("-----"))) {
            assert!(!said.contains(line), "a key is shown");
        }
    }
}

#[test]
fn a_leaf_of_another_ca_has_no_issuer() {
    let (mut data, annotations) = written(&fresh());
    let (other, _) = written(&fresh());
    for key in [CA, CA_KEY] {
        data.insert(key.to_owned(), other[key].clone());
    }
    let content = Content::read(&data, &annotations);
    assert_eq!(content.leaf.as_ref().unwrap().issuer, None);
    assert!(!content.whole());
}

#[test]
fn names_are_compared_as_a_set() {
    let content = fresh();
    let leaf = content.leaf.as_ref().unwrap();
    let mut turned = names();
    turned.reverse();
    assert!(leaf.is_for(&turned));
    turned.push("one-more".to_owned());
    assert!(!leaf.is_for(&turned) && !leaf.is_for(&names()[..1]));
}

#[test]
fn addresses_are_names_too() {
    let names = ["::1", "10.0.0.1", "a.svc"].map(ToOwned::to_owned);
    let content =
        carry_out(&Content::default(), Action::StartOver(StepReason::Unusable), &names, &TERMS, NOW).unwrap();
    assert!(content.leaf.unwrap().is_for(&names));
}

#[test]
fn a_phase_nobody_knows_is_none() {
    let (data, _) = written(&fresh());
    let annotated = |phase: &str, since: &str| {
        let annotations = [(PHASE.to_owned(), phase.to_owned()), (SINCE.to_owned(), since.to_owned())];
        Content::read(&data, &annotations.into()).rotation
    };
    assert_eq!(annotated("dancing", "2027-01-15T08:00:00Z"), None);
    let since = |since| Some(Rotation { phase: Phase::Retiring, since });
    assert_eq!(annotated("retiring", "2027-01-15T08:00:00Z"), since(Some(NOW)));
    assert_eq!(annotated("retiring", "yesterday"), since(None));
}

#[test]
fn an_address_is_the_same_however_it_is_spelt() {
    let names: Vec<String> =
        ["outrigger", "2001:DB8:0:0:0:0:0:1", "::FFFF", "127.0.0.1", "outrigger"].map(str::to_owned).to_vec();
    let action = Action::StartOver(StepReason::Unusable);
    let content = carry_out(&Content::default(), action, &names, &TERMS, NOW).unwrap();
    assert!(content.state(&names).leaf.unwrap().named, "or else it would be made again and again");
}
