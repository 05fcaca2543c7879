use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::CertificateDer;

use super::*;

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn ca(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = parameters(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = parameters.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(parameters, key))
}

fn client(issuer: &Issuer<'static, KeyPair>, name: &str) -> Vec<CertificateDer<'static>> {
    let mut parameters = parameters(name);
    parameters.subject_alt_names = vec![SanType::DnsName("client.example".try_into().unwrap())];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    vec![parameters.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()]
}

fn auth(mode: Mode, names: &[&str]) -> Arc<ClientAuth> {
    let names = AllowedNames::These(names.iter().map(ToString::to_string).collect());
    let ca = CaSource::ConfigMap("a/b:c".parse().unwrap());
    let certificates = Some(Certificates { ca, names, cluster_ca: PathBuf::new() });
    let options = Options { mode, certificates, token_file: None };
    ClientAuth::new(&options, &Readiness::default(), ClientAuthMetrics::default()).unwrap().unwrap()
}

fn refusal(auth: &ClientAuth, chain: &[CertificateDer<'_>]) -> Refusal {
    auth.verify(chain).err().unwrap().refusal
}

#[test]
fn a_refusal_says_what_was_found_and_what_is_accepted() {
    let (pem, issuer) = ca("callers");
    let auth = auth(Mode::Require, &["api-1", "api-2"]);
    let chain = client(&issuer, "kubelet");
    let unknown = refusal(&auth, &chain);
    assert_eq!((unknown.reason, unknown.detail.as_str()), ("no_ca", "no client CA is currently valid"));
    auth.install_ca(pem.as_bytes(), "a/b:c").unwrap();
    let name = refusal(&auth, &chain);
    assert_eq!(name.reason, "name");
    assert_eq!(
        name.detail,
        r#"the certificate is for CN "kubelet", DNS "client.example"; expected "api-1", "api-2""#
    );
    let (_, other) = ca("others");
    let unknown = refusal(&auth, &client(&other, "api-1"));
    assert_eq!(unknown.reason, "unknown_ca");
    assert!(
        unknown.detail.starts_with(
            r#"the certificate for CN "api-1", DNS "client.example" was signed by "CN=others"; expected a certificate signed by CN=callers (valid until "#
        ),
        "{unknown:?}"
    );
    assert!(auth.verify(&client(&issuer, "api-2")).is_ok());
    let garbage = [CertificateDer::from(vec![0x30, 0x00])];
    assert_eq!(refusal(&auth, &garbage).reason, "malformed");
}

#[test]
fn a_replica_that_refuses_waits_for_the_ca_and_one_that_does_not_refuse_does_not() {
    for (mode, open) in [(Mode::Request, true), (Mode::Require, false)] {
        let auth = auth(mode, &["x"]);
        assert_eq!(auth.gate.state().open, open, "{mode:?}");
        auth.refused_ca("a/b:c: the ConfigMap does not exist");
        let state = auth.gate.state();
        assert_eq!(state.open, open);
        assert_eq!(
            state.problem.as_deref(),
            Some("the client CA was rejected: a/b:c: the ConfigMap does not exist")
        );
        auth.install_ca(ca("callers").0.as_bytes(), "a/b:c").unwrap();
        assert!(auth.gate.state().open && auth.gate.state().problem.is_none());
    }
}

#[test]
fn many_refusals_of_a_kind_are_one_line_and_a_count() {
    let auth = auth(Mode::Require, &["x"]);
    assert_eq!(auth.tell("name"), Some(0));
    assert_eq!(auth.tell("expired"), Some(0));
    for _ in 0..3 {
        assert_eq!(auth.tell("name"), None);
    }
    if let Some((at, _)) = auth.told.lock().unwrap().get_mut("name") {
        *at = Instant::now().checked_sub(TOLD_EVERY).unwrap();
    }
    assert_eq!(auth.tell("name"), Some(3));
    assert_eq!(auth.tell("name"), None);
}

#[test]
fn the_same_ca_again_is_no_change() {
    let (pem, _) = ca("callers");
    let auth = auth(Mode::Require, &["x"]);
    auth.install_ca(pem.as_bytes(), "").unwrap();
    let before = auth.trust(unix_now()).unwrap().generation;
    auth.install_ca(pem.as_bytes(), "").unwrap();
    assert_eq!(auth.trust(unix_now()).unwrap().generation, before);
    auth.install_ca(ca("callers").0.as_bytes(), "").unwrap();
    assert_ne!(auth.trust(unix_now()).unwrap().generation, before);
}
