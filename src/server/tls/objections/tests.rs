use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::*;

const NOW: i64 = 1_800_000_000;

fn named() -> CertificateParams {
    CertificateParams::new(["outrigger.outrigger-system.svc".to_owned()]).unwrap()
}

struct Authority {
    parameters: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str, tune: impl FnOnce(&mut CertificateParams)) -> Authority {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        tune(&mut parameters);
        Authority { parameters, key: KeyPair::generate().unwrap() }
    }

    fn signs(&self, parameters: CertificateParams) -> CertificateDer<'static> {
        let issuer = Issuer::from_params(&self.parameters, &self.key);
        parameters.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone()
    }

    fn signed_by(&self, other: &Authority) -> CertificateDer<'static> {
        let issuer = Issuer::from_params(&other.parameters, &other.key);
        self.parameters.clone().signed_by(&self.key, &issuer).unwrap().der().clone()
    }
}

fn objections(chain: &[CertificateDer<'static>]) -> Vec<String> {
    Objections::of(chain).now(NOW)
}

/// For a certificate issued by a CA.
fn of(tune: impl FnOnce(&mut CertificateParams)) -> Vec<String> {
    let mut parameters = named();
    tune(&mut parameters);
    objections(&[Authority::new("root", |_| {}).signs(parameters)])
}

/// The DER with one run of bytes replaced everywhere.
fn patched(der: &CertificateDer<'_>, from: &[u8], to: &[u8]) -> CertificateDer<'static> {
    let mut bytes = der.to_vec();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to);
    }
    CertificateDer::from(bytes)
}

#[track_caller]
fn says(found: &[String], wanted: &str) {
    assert!(found.len() == 1 && found[0].contains(wanted), "{wanted:?} is not what {found:?} says");
}

#[test]
fn nothing_is_said_of_what_is_taken() {
    assert_eq!(of(|_| {}), Vec::<String>::new());
    assert_eq!(
        of(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        Vec::<String>::new()
    );
    assert_eq!(of(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]), Vec::<String>::new());
    assert_eq!(of(|p| p.serial_number = Some(vec![0x7f; 40].into())), Vec::<String>::new());
    let by_address =
        of(|p| p.subject_alt_names = vec![SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())]);
    assert_eq!(by_address, Vec::<String>::new());
    // Created here, and trusted as it is.
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        assert_eq!(objections(&[named().self_signed(&key).unwrap().der().clone()]), Vec::<String>::new());
    }
}

#[test]
fn a_certificate_without_names_or_for_clients() {
    says(&of(|p| p.subject_alt_names.clear()), "is for no DNS name and no IP address");
    let mail = |p: &mut CertificateParams| {
        p.subject_alt_names = vec![SanType::Rfc822Name("a@b.test".try_into().unwrap())];
    };
    says(&of(mail), "is for no DNS name and no IP address");
    let client = of(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    says(&client, "the certificate is not for servers (extendedKeyUsage without serverAuth)");
}

#[test]
fn a_certificate_that_cannot_be_read() {
    let mut parameters = named();
    parameters.serial_number = Some(vec![0x55; 7].into());
    let certificate = Authority::new("root", |_| {}).signs(parameters);
    let negative = patched(&certificate, &[0x55; 7], &[0xd5, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55]);
    says(&objections(&[negative]), "has a negative serial number");
    let longer = CertificateDer::from([certificate.to_vec(), vec![0]].concat());
    says(&objections(&[longer]), "has trailing data");
    assert!(unreadable(b"garbage").is_some() && unreadable(&certificate).is_none());
    // P-256 becomes secp256k1.
    let curve = patched(
        &certificate,
        &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x0a],
    );
    says(&objections(&[curve]), "elliptic curve");
}

#[test]
fn a_signature_that_is_not_verified() {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let parameters = Authority::new("root", |_| {}).parameters;
    let issuer = Issuer::from_params(&parameters, &key);
    let certificate = named().signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone();
    let signed_with = |last: u8| {
        let oid = |last| [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last];
        objections(&[patched(&certificate, &oid(0x0b), &oid(last))])
    };
    says(&signed_with(0x05), "is signed with SHA-1, which is insecure");
    says(&signed_with(0x04), "is signed with MD5, which is insecure");
    // SHA-224.
    says(&signed_with(0x0e), "is signed with an unknown algorithm (1.2.840.113549.1.1.14)");
    assert_eq!(signed_with(0x0c), Vec::<String>::new());
    // The signature of a certificate that is itself trusted is not checked.
    let own = named().self_signed(&key).unwrap().der().clone();
    let oid = |last| [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last];
    assert_eq!(objections(&[patched(&own, &oid(0x0b), &oid(0x05))]), Vec::<String>::new());
}

// T-19
#[test]
fn keys_that_are_not_taken() {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let own = named().self_signed(&key).unwrap().der().clone();
    // Only the key's type differs, not the signature's.
    let pss = patched(
        &own,
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01],
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
    );
    says(&objections(&[pss]), "has a key restricted to RSASSA-PSS");
    let (_, parsed) = x509_parser::parse_x509_certificate(&own).unwrap();
    assert_eq!(rsa_bits(parsed.public_key()), Some(2048));
}

#[test]
fn critical_extensions_that_are_not_known() {
    let extension = |oid: &[u64], critical: bool| {
        let mut extension = CustomExtension::from_oid_content(oid, vec![0x30, 0x03, 0x02, 0x01, 0x05]);
        extension.set_criticality(critical);
        extension
    };
    // OCSP must staple.
    const STAPLE: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 24];
    assert_eq!(of(|p| p.custom_extensions = vec![extension(STAPLE, false)]), Vec::<String>::new());
    let critical = of(|p| p.custom_extensions = vec![extension(STAPLE, true)]);
    says(&critical, "has an unknown critical extension (1.3.6.1.5.5.7.1.24)");
    let access = of(|p| p.custom_extensions = vec![extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], true)]);
    says(&access, "has an extension that must not be critical (1.3.6.1.5.5.7.1.1)");
}

#[test]
fn the_chain_counts_too_and_roots_in_it_do_not() {
    let root = Authority::new("root", |p| p.not_after = rcgen::date_time_ymd(2000, 1, 1));
    let own_root = root.parameters.clone().self_signed(&root.key).unwrap().der().clone();
    let chain = |tune: fn(&mut CertificateParams)| {
        let middle = Authority::new("middle", tune);
        objections(&[middle.signs(named()), middle.signed_by(&root), own_root.clone()])
    };
    assert_eq!(chain(|_| {}), Vec::<String>::new());
    says(&chain(|p| p.is_ca = IsCa::NoCa), "certificate 2 of the chain is not a CA certificate");
    let leaf = root.signs(named());
    assert_eq!(
        objections(&[leaf.clone(), leaf.clone(), own_root.clone()]),
        Vec::<String>::new(),
        "sent twice"
    );
    says(&objections(&[leaf, root.signs(named())]), "certificate 2 of the chain is not a CA certificate");
    says(&chain(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]), "may not sign certificates");
    let client = chain(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    says(&client, "certificate 2 of the chain is not for servers");
    let over = chain(|p| {
        p.not_before = rcgen::date_time_ymd(2000, 1, 1);
        p.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    says(&over, "certificate 2 of the chain expired");
    says(
        &chain(|p| p.not_before = rcgen::date_time_ymd(2100, 1, 1)),
        "certificate 2 of the chain becomes valid on 2100-01-01T00:00:00Z, in ",
    );
}

#[test]
fn what_nobody_can_use_has_a_reason() {
    let key = KeyPair::generate().unwrap();
    assert_eq!(useless(named().self_signed(&key).unwrap().der()), None);
    let mut parameters = named();
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x05, 0x00]);
    extension.set_criticality(true);
    parameters.custom_extensions = vec![extension];
    let found = useless(parameters.self_signed(&key).unwrap().der()).unwrap();
    assert!(found.contains("has an unknown critical extension"), "{found}");
}

/// As OpenSSL writes them; Go's `x509.Certificate.Verify` says "algorithm unimplemented" for all but the first.
#[test]
fn parameters_of_rsassa_pss_are_those_that_go_knows() {
    use x509_parser::prelude::FromDer;
    // OIDs of RSASSA-PSS, SHA-256, SHA-512 and MGF1.
    const PSS: &str = "06092a864886f70d01010a";
    const MGF1: &str = "06092a864886f70d010108";
    let hash = |last: &str| format!("300d060960864801650304020{last}0500");
    let sequence = |content: &str| format!("30{:02x}{content}", content.len() / 2);
    let tagged = |tag: &str, content: &str| format!("{tag}{:02x}{content}", content.len() / 2);
    let problem = |of: &str, mask: &str, salt: &str| {
        let mask = sequence(&format!("{MGF1}{}", hash(mask)));
        let parameters = format!("{}{}{}", tagged("a0", &hash(of)), tagged("a1", &mask), tagged("a2", salt));
        let text = sequence(&format!("{PSS}{}", sequence(&parameters)));
        let bytes: Vec<u8> =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
        let (_, algorithm) = AlgorithmIdentifier::from_der(&bytes).unwrap();
        unverifiable(&algorithm)
    };
    let (sha256, sha512) = ("1", "3");
    assert_eq!(problem(sha256, sha256, "020120"), None);
    assert_eq!(problem(sha512, sha512, "020140"), None);
    for (of, mask, salt, wanted) in [
        (sha256, sha256, "020200de", "a salt whose length differs from the hash's"),
        (sha512, sha256, "020140", "two hashes"),
        ("4", "4", "02011c", "an unsupported hash"),
    ] {
        let found = problem(of, mask, salt).unwrap();
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
}
