use proptest::prelude::*;

use super::*;

fn block(label: &str, der: &[u8]) -> String {
    encode(label, der)
}

/// Labels of the blocks that are read; lines and problems of those that are not.
fn read(text: &str) -> (Vec<String>, Vec<(usize, Problem)>) {
    let pem = Pem::parse(text.as_bytes());
    let labels = pem.blocks.iter().map(|block| block.label.clone()).collect();
    (labels, pem.flaws.iter().map(|flaw| (flaw.line, flaw.problem)).collect())
}

fn one(text: &str) {
    assert_eq!(read(text), (vec![CERTIFICATE.to_owned()], vec![]), "{text:?}");
}

fn none(text: &str, flaws: &[(usize, Problem)]) {
    assert_eq!(read(text), (vec![], flaws.to_vec()), "{text:?}");
}

/// What Go finds in a text; written by `hack/oracle/pem`.
#[derive(serde::Deserialize)]
struct Example {
    text: String,
    blocks: Vec<Found>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Found {
    label: String,
    headers: bool,
    der: String,
}

#[test]
fn the_blocks_are_those_that_go_finds() {
    let recorded = include_str!("../../tests/fixtures/pem.json");
    let examples: Vec<Example> = serde_json::from_str(recorded).unwrap();
    let (count, mut differ) = (examples.len(), Vec::new());
    for Example { text, blocks } in examples {
        let found = Pem::parse(text.as_bytes()).blocks.into_iter().map(|block| Found {
            label: block.label.clone(),
            headers: block.has_headers,
            der: STANDARD.encode(&block.der),
        });
        let found: Vec<_> = found.collect();
        if found != blocks && differ.len() < 20 {
            differ.push(format!("{text:?}\n  {found:?}\n  {blocks:?}"));
        }
    }
    assert!(count >= 400 && differ.is_empty(), "{count}\n{}", differ.join("\n"));
}

#[test]
fn what_was_written_is_read() {
    let text = block(CERTIFICATE, &[7; 100]);
    assert!(text.lines().all(|line| line.len() <= 64), "{text}");
    let pem = Pem::parse(text.as_bytes());
    assert_eq!((pem.blocks[0].der.as_slice(), pem.blocks[0].line), (&[7; 100][..], 1));
}

#[test]
fn reads_what_an_api_server_reads() {
    let certificate = block(CERTIFICATE, b"abc");
    one(&certificate);
    one(certificate.trim_end());
    one(&certificate.replace('\n', "\r\n"));
    one(&certificate.replace('\n', " \t\n"));
    one(&format!("subject=/CN=x\nissuer: y\n{certificate}# the end\n"));
    one("-----BEGIN CERTIFICATE-----\nYW\n Jj\n\n-----END CERTIFICATE-----\n");
    one("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n");
    // Bits after the last byte.
    one("-----BEGIN CERTIFICATE-----\nYR==\n-----END CERTIFICATE-----\n");
    let (labels, flaws) = read(&format!("{certificate}{}{certificate}", block("EC PRIVATE KEY", b"k")));
    assert_eq!((labels.len(), flaws.len()), (3, 0));
}

#[test]
fn says_what_an_api_server_passes_over() {
    use Problem::*;
    let certificate = block(CERTIFICATE, b"abc");
    let glued = format!("{}{certificate}", certificate.trim_end());
    none(&glued, &[(1, End), (3, Place), (5, NoBegin)]);
    let indented: String = certificate.lines().map(|line| format!("  {line}\n")).collect();
    none(&indented, &[(1, Place), (3, Place)]);
    none(&format!("\u{feff}{certificate}"), &[(1, Place), (3, NoBegin)]);
    none(&format!("ca: {certificate}"), &[(1, Place), (3, NoBegin)]);
    none(&certificate.replace("-----END", " -----END"), &[(1, NoEnd), (3, Place)]);
    none(&certificate.replace("E-----\nYWJj", "E----\nYWJj"), &[(1, Begin), (3, NoBegin)]);
    none(&certificate.replace("END CERTIFICATE", "END X509 CRL"), &[(1, End)]);
    none(&certificate.replace("-----END CERTIFICATE-----", "-----END CERTIFICATE----- x"), &[(1, End)]);
    none(&certificate.replace("YWJj", "YW!j"), &[(1, Base64)]);
    none(&certificate.replace("YWJj", "YWI"), &[(1, Base64)]);
    none(&certificate.replace('\n', "\r"), &[(1, Begin)]);
    none(&certificate[..20], &[(1, Begin)]);
    none(&certificate[..30], &[(1, NoEnd)]);
    // The end of the text is not the end of a line.
    none(&format!("{}\r", certificate.trim_end()), &[(1, End)]);
    let (labels, flaws) = read(&format!("-----BEGIN CERTIFICATE-----\nYWJj\n{certificate}"));
    assert_eq!((labels.len(), flaws), (1, vec![(1, NoEnd)]));
    none("", &[]);
    none("no block", &[]);
}

#[test]
fn certificates_alone_are_certificates_alone() {
    let certificate = block(CERTIFICATE, b"abc");
    let only = |text: &str| {
        let pem = Pem::parse(text.as_bytes());
        pem.only_certificates().map(|blocks| blocks.len())
    };
    assert_eq!(only(&format!("a comment\n{certificate}{certificate}")), Ok(2));
    let key = block("RSA PRIVATE KEY", b"secret");
    let indented: String = key.lines().map(|line| format!("  {line}\n")).collect();
    for (text, found) in [
        (format!("{certificate}{key}"), "line 4: found a private key (RSA PRIVATE KEY)"),
        (format!("{key}{certificate}"), "line 1: found a private key (RSA PRIVATE KEY)"),
        (
            format!("{certificate}{}", key.replace("RSA", "ENCRYPTED")),
            "a private key (ENCRYPTED PRIVATE KEY)",
        ),
        (format!("{certificate}{indented}"), "line 4: found a private key"),
        (format!("{}{key}", certificate.trim_end()), "line 3: found a private key"),
        (format!("{certificate}{}", &key[..40]), "line 4: found a private key"),
        (block("TRUSTED CERTIFICATE", b"abc"), "line 1: found a block named TRUSTED CERTIFICATE"),
        (format!("{certificate}{}", block("X509 CRL", b"abc")), "line 4: found a block named X509 CRL"),
        (format!("{}{certificate}", certificate.trim_end()), "line 1: found a broken block CERTIFICATE"),
        (
            certificate.replace("YWJj", "Proc-Type: 4\n\nYWJj"),
            "line 1: found a CERTIFICATE with header lines",
        ),
        (key.replace('\n', ""), "line 1: found a private key (RSA PRIVATE KEY)"),
        (
            certificate.replace('\n', ""),
            "line 1: found a broken block CERTIFICATE: it has no END line of its own",
        ),
        (String::new(), "found no certificate"),
        ("garbage".to_owned(), "found no certificate"),
    ] {
        let error = only(&text).unwrap_err();
        assert!(error.contains(found), "{text}\n{error}");
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Pem::parse(&bytes);
    }

    // Everything that looks like a block is read or reported.
    #[test]
    fn nothing_is_lost(text in "(-----BEGIN (CERTIFICATE|PRIVATE KEY)-----|-----END (CERTIFICATE|PRIVATE KEY)-----|YWJj|\n|\r\n| |a: b){0,12}") {
        let pem = Pem::parse(text.as_bytes());
        let begins = text.matches(BEGIN).count();
        prop_assert!(pem.blocks.len() + pem.flaws.len() >= begins.min(1));
        prop_assert!(pem.blocks.len() <= begins);
    }
}
