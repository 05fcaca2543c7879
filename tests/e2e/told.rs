//! Messages to users through a real API server: errors of the webhook, certificates that it rejects, caBundles that it
//! cannot read, and an injector that hangs.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SigningKey as _,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    commands::{Shell, serving},
    control_plane::{ControlPlane, Flavour, PATIENCE, settled},
    install::{NAMESPACE, Reach, Serving, Webhook, service},
    neighbours::Stage,
    outrigger_process::Outrigger,
    pods::dry_run,
};

const OBJECT: &str = "outrigger-sidecar-injector";

fn pod() -> Value {
    json!({
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
    })
}

/// Waits until pods of a namespace are refused with a text. API servers act on a new configuration some time later.
async fn refused(control_plane: &ControlPlane, namespace: &str, wanted: &str) -> String {
    let client = control_plane.client().await;
    settled(&format!("pods of {namespace} are refused: {wanted}"), PATIENCE, async || {
        match dry_run(&client, namespace, &pod()).await {
            Err(error) if error.contains(wanted) => Ok(error),
            Err(error) => Err(error),
            Ok(pod) => Err(format!("taken: {pod}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_over_http_reach_whoever_creates_the_pod() {
    let stage = Stage::set("").await;
    let port = stage.outrigger.webhook_port();
    for (namespace, path, wanted) in [
        ("path", "/inject/FOO=1/v", r#"the path names the environment variable "FOO=1""#),
        ("escape", "/inject/k/%00", "the path has a control character after percent-decoding"),
        ("nothing", "/elsewhere", "nothing is served at this path; expected POST /inject"),
    ] {
        stage.namespace(namespace, &[]).await;
        let reach = Reach::Url(format!("https://127.0.0.1:{port}{path}"));
        let webhook = stage.webhook(namespace, reach);
        Webhook { namespaces: vec![namespace.to_owned()], ..webhook }.apply(&stage.control_plane).await;
        let told = refused(&stage.control_plane, namespace, wanted).await;
        println!("{path}: {told}");
        assert!(told.contains("failed calling webhook") && !told.contains("unknown reason"), "{told}");
    }
}

/// A CA of the test that signs certificates that no other CA would. Signatures of Ed25519 are 64 bytes at the end.
struct Odd {
    parameters: CertificateParams,
    key: KeyPair,
}

impl Odd {
    fn new(name: &str) -> Odd {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Odd { parameters, key: KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key") }
    }

    fn pem(&self) -> String {
        self.parameters.self_signed(&self.key).expect("a CA").pem()
    }

    fn sign(&self, parameters: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.parameters, &self.key);
        parameters.signed_by(key, &issuer).expect("a certificate").der().to_vec()
    }

    /// Signs a changed certificate again.
    fn sign_again(&self, mut der: Vec<u8>) -> Vec<u8> {
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
        let signature = self.key.sign(certificate.tbs_certificate.as_ref()).expect("a signature");
        let place = der.len() - signature.len();
        der.truncate(place);
        der.extend(signature);
        der
    }
}

fn named() -> CertificateParams {
    let mut parameters =
        CertificateParams::new([format!("outrigger.{NAMESPACE}.svc"), "127.0.0.1".to_owned()])
            .expect("names");
    parameters.distinguished_name.push(DnType::CommonName, "outrigger");
    parameters
}

/// The served certificate, the messages about it at startup and under `/readyz?verbose`, and the API server's error.
type Row = (&'static str, Vec<Vec<u8>>, &'static str, &'static str);

fn rows(ca: &Odd, key: &KeyPair) -> Vec<Row> {
    let with = |tune: &dyn Fn(&mut CertificateParams)| {
        let mut parameters = named();
        tune(&mut parameters);
        ca.sign(&parameters, key)
    };
    let mut negative = with(&|parameters| parameters.serial_number = Some(vec![0x55; 9].into()));
    let place = negative.windows(9).position(|bytes| bytes == [0x55; 9]).expect("the serial number");
    negative[place] = 0xd5;
    let critical = |parameters: &mut CertificateParams| {
        let mut staple =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
        staple.set_criticality(true);
        parameters.custom_extensions = vec![staple];
    };
    let mut stapled = Odd::new("middle");
    critical(&mut stapled.parameters);
    let below_stapled = vec![stapled.sign(&named(), key), ca.sign(&stapled.parameters, &stapled.key)];
    let mut no_ca = Odd::new("middle");
    no_ca.parameters.is_ca = IsCa::NoCa;
    let below = vec![no_ca.sign(&named(), key), ca.sign(&no_ca.parameters, &no_ca.key)];
    let mut clients = Odd::new("middle");
    clients.parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let below_clients = vec![clients.sign(&named(), key), ca.sign(&clients.parameters, &clients.key)];
    let client = |parameters: &mut CertificateParams| {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]
    };
    vec![
        (
            "names",
            vec![with(&|parameters| parameters.subject_alt_names.clear())],
            "is for no DNS name",
            "x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
        ),
        (
            "clients",
            vec![with(&client)],
            "is not for servers",
            "x509: certificate specifies an incompatible key usage",
        ),
        (
            "serial",
            vec![ca.sign_again(negative)],
            "has a negative serial number",
            "x509: negative serial number",
        ),
        (
            "critical",
            below_stapled,
            "certificate 2 of the chain has an unknown critical extension",
            "x509: unhandled critical extension",
        ),
        (
            "middle",
            below,
            "certificate 2 of the chain is not a CA certificate",
            "x509: certificate signed by unknown authority",
        ),
        (
            "usage",
            below_clients,
            "certificate 2 of the chain is not for servers",
            "x509: certificate specifies an incompatible key usage",
        ),
    ]
}

// T-19
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_api_servers_refuse_are_told_before_the_first_pod() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let (ca, key) = (Odd::new("odd"), KeyPair::generate().expect("a key"));
    let key_file = control_plane.folder().join("odd.key");
    std::fs::write(&key_file, key.serialize_pem()).expect("a file");
    let good = vec![ca.sign(&named(), &key)];
    for (namespace, chain, remark, wanted) in rows(&ca, &key).into_iter().chain([("good", good, "", "")]) {
        let file = control_plane.folder().join(format!("{namespace}.crt"));
        let text: String = chain.iter().map(|der| outrigger::pem::encode("CERTIFICATE", der)).collect();
        std::fs::write(&file, text).expect("a file");
        let outrigger = Outrigger::standalone(&file, &key_file).start().await;
        control_plane.create_namespace(namespace, &[("istio-injection", "enabled")]).await;
        let authority = super::control_plane::identity::Authority::new("unused");
        let webhook = Webhook {
            namespaces: vec![namespace.to_owned()],
            ca_bundle: STANDARD.encode(ca.pem()),
            ..Webhook::new(namespace, Reach::url_of(&outrigger), &authority)
        };
        webhook.apply(&control_plane).await;
        let ready = outrigger.readyz().await.expect("an answer");
        assert_eq!(ready.status, 200, "{ready:?}");
        let said = outrigger.log().contains("API servers would reject the certificate");
        if remark.is_empty() {
            assert!(ready.body.contains("[+]certificate ok: valid until") && !said, "{ready:?}");
            webhook.install(&control_plane, namespace).await;
        } else {
            assert!(
                ready.body.contains("[!]certificate API servers would reject it")
                    && ready.body.contains(remark),
                "{ready:?}"
            );
            assert!(said && outrigger.log().contains(remark), "{}", outrigger.log());
            println!("{namespace}: {}", refused(&control_plane, namespace, wanted).await);
        }
    }
}

// T-08
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_bundle_is_certificates_that_api_servers_read_and_nothing_else() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    let (serving, _process, port) = serving(&control_plane).await;
    let (ca, key) = (serving.authority.pem(), std::fs::read_to_string(&serving.key).expect("a key"));
    let indented = ca.lines().fold(String::new(), |text, line| text + "  " + line + "\n");
    let glued = format!("{}{ca}", ca.trim_end());
    for (what, text, told) in [
        ("key", format!("{ca}{key}"), "found a private key (PRIVATE KEY)"),
        ("indented", indented.clone(), "found a broken block CERTIFICATE"),
        ("glued", glued.clone(), "found a broken block CERTIFICATE"),
    ] {
        let file = shell.file(&format!("{what}.pem"), &text);
        for command in [
            &["webhook", "apply", &port, "--ca-bundle", &file][..],
            &["webhook", "print", "--ca-bundle", &file],
        ] {
            let error = shell.fails(64, command).await;
            assert!(error.contains(told), "{error}");
        }
    }
    assert_eq!(control_plane.kubectl(&["get", "mutatingwebhookconfigurations", "-o", "name"]).await, "");

    // Text around certificates does not matter, and does not get there.
    let noted =
        shell.file("noted.pem", &format!("# the mesh's CA\r\n{}\r\nthe end", ca.replace('\n', "\r\n")));
    shell.done(&["webhook", "apply", &port, "--ca-bundle", &noted]).await;
    shell.done(&["webhook", "wait", "--timeout=20s"]).await;
    let bundle = async || {
        let object = shell.configuration(OBJECT).await;
        let bundle =
            object["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned();
        String::from_utf8(STANDARD.decode(bundle).expect("base64")).expect("a text")
    };
    assert!(!bundle().await.contains("the mesh's CA") && !bundle().await.contains('\r'));

    // An existing caBundle of another manager: as the API server sees it.
    let set = async |text: &str| {
        let patch: Vec<Value> = (0..4)
            .map(|at| json!({"op": "replace", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": STANDARD.encode(text)}))
            .collect();
        let patch = json!(patch).to_string();
        control_plane
            .kubectl(&["patch", "mutatingwebhookconfiguration", OBJECT, "--type=json", "-p", &patch])
            .await;
    };
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    for text in [&indented, &glued] {
        set(text).await;
        refused(&control_plane, "shop", "unable to parse bytes as PEM block").await;
        let told = shell.fails(1, &["webhook", "wait", "--timeout=0"]).await;
        assert!(
            told.contains("contains no certificate that API servers can read: line 1: found a broken block"),
            "{told}"
        );
    }
    set(&format!("{ca}{key}")).await;
    let run = shell.run(&["webhook", "wait", "--timeout=20s"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("warning: ") && run.stderr.contains("contains a private key"),
        "{}",
        run.stderr
    );
    let run = shell.run(&["webhook", "apply", &port, "--ca-bundle", &noted, "--force-conflicts"]).await;
    assert!(run.code == 0 && !run.stderr.contains("private key"), "{}", run.stderr);
    assert!(!bundle().await.contains("PRIVATE KEY"));
}

// N-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injector_that_hangs_is_not_the_api_server_s_fault() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    let serving = Serving::new(&control_plane);
    // It accepts connections and never responds.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    control_plane.create_namespace(NAMESPACE, &[]).await;
    control_plane.apply(&service(port).to_string()).await;
    let ca = shell.file("ca.pem", serving.authority.pem());
    let port = format!("--port={port}");
    shell.done(&["webhook", "apply", &port, "--ca-bundle", &ca, "--timeout=6s"]).await;
    // Less time than the webhook has: the dry run in progress is awaited, and the API server's words are reported.
    let began = Instant::now();
    let told = shell.fails(1, &["webhook", "wait", "--timeout=2s"]).await;
    println!("{:?}: {told}", began.elapsed());
    assert!(told.contains("gave up after") && told.contains("failed calling webhook"), "{told}");
    assert!(told.contains("deadline exceeded"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
