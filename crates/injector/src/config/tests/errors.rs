//! The texts of errors: they are for the person on call, so they are tested to the letter.

use super::*;

/// Documents and their errors, one line per problem.
const REFUSALS: &str = include_str!("refusals.txt");

// C-10
#[test]
fn refusals_say_where_what_and_what_instead() {
    let cases: Vec<(&str, &str)> =
        REFUSALS.split("====\n").map(|case| case.split_once("\n=>\n").unwrap()).collect();
    assert!(cases.len() > 80, "{}", cases.len());
    for (document, wanted) in cases {
        // A document about the two head keys has them, or its text is about them.
        let is_bare = ["text", "5", "kind: ", "apiVersion: "].iter().any(|start| document.starts_with(start));
        let document = if is_bare { document.to_owned() } else { headed(document) };
        assert_eq!(refusal(&document), wanted.trim_end_matches('\n'), "{document}");
    }
}

// Row 4 of the issue about hostile environments: a text that was empty, or had lost its head, became the embedded
// defaults.
#[test]
fn a_text_that_does_not_say_that_it_is_a_bundle_is_refused() {
    for text in ["", "\n", "# a comment\n", "---\n", "null", "~"] {
        let error = InjectorConfig::from_bundle(Source { name: "b", text }).unwrap_err().to_string();
        let wanted =
            "found nothing; expected a bundle, at least {apiVersion: outrigger.dev/v1alpha1, kind: Bundle}";
        assert!(error.starts_with("b:") && error.ends_with(wanted), "{text:?}: {error}");
    }
    let (version, kind) = (
        "apiVersion: found nothing; expected outrigger.dev/v1alpha1",
        "kind: found nothing; expected Bundle",
    );
    for (text, wanted) in [
        ("{}", vec![version, kind]),
        ("revision: canary\n", vec![version, kind]),
        ("kind: Bundle\n", vec![version]),
        ("apiVersion: outrigger.dev/v1alpha1\nkind:\n", vec![kind]),
        ("{apiVersion: null, kind: Bundle}", vec![version]),
    ] {
        let error = InjectorConfig::from_bundle(Source { name: "b", text }).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines, wanted.iter().map(|line| format!("b:1:1: {line}")).collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn text_that_is_no_yaml_is_refused_with_its_place() {
    for (text, place) in [
        ("a: b: c", "bundle.yaml:1:5: found "),
        ("a: [", "bundle.yaml:"),
        ("{}\n---\n{}\n", "bundle.yaml:3:1: found a second document; expected one document"),
        ("a: *b", "bundle.yaml:1:4: found "),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(place), "{refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
        assert!(!refusal.contains("line "), "the place is said twice: {refusal}");
    }
}

// C-12
#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = level - 1;
        let items = vec![format!("*a{before}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert_eq!(refusal(&text).lines().count(), 1);
}

#[test]
fn problems_are_listed_in_the_order_of_the_document() {
    let text = "env: {A: 1}\nmesh: {proxyListenPort: x}\ninjector: {policy: x}\nnodes: [1]\nvalues: 1\n";
    let error = InjectorConfig::from_bundle(Source { name: "b", text: &headed(text) }).unwrap_err();
    let lines: Vec<u32> = error.problems().iter().map(|problem| problem.place.unwrap().line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5]);
}

#[test]
fn a_flood_of_problems_is_cut() {
    let text: String = (0..60).map(|index| format!("k{index}: 1\n")).collect();
    let error = InjectorConfig::from_bundle(Source { name: "b", text: &headed(&text) }).unwrap_err();
    assert_eq!(error.problems().len(), 60);
    assert_eq!(error.to_string().lines().count(), 51);
    assert!(error.to_string().ends_with("\nand 10 more problems"));
}

#[test]
fn long_values_are_cut() {
    let refusal = refusal(&headed(&format!("compat: {}", "x".repeat(10_000))));
    assert!(refusal.len() < 200, "{refusal}");
    assert!(refusal.contains("x…\"; expected outrigger, istio"), "{refusal}");
}

// C-08
#[test]
fn warnings_say_what_comes_of_it() {
    for (text, wanted) in [
        ("injector: {polcy: disabled}", r#"injector.polcy: unknown key, ignored; nearest: "policy""#),
        ("injector: {future: 1}", "injector.future: unknown key, ignored"),
        ("injector: {PolicY: disabled}", r#"injector.PolicY: read as "policy"; use this spelling"#),
        (
            "injector: {neverInjectSelector: [{}]}",
            "injector.neverInjectSelector[0]: an empty selector is ignored",
        ),
        (
            "injector: {aliases: {a: [gatway]}}",
            "injector.aliases.a[0]: found \"gatway\", which is not a template; known: gateway, grpc-agent, grpc-simple, \
             sidecar; nearest: \"gateway\"",
        ),
        (
            "injector: {injectedAnnotations: {a: 5}}",
            r#"injector.injectedAnnotations.a: the number 5 is read as the string "5"; put it in quotes"#,
        ),
        (
            "compat: istio\ninjector: {defaultTemplates: [x]}",
            "injector.defaultTemplates[0]: found \"x\"; known: gateway, grpc-agent, grpc-simple, sidecar; pods that \
             name no template are denied",
        ),
        (
            "values: {sidecarInjectorWebhook: {neverInjectSelector: [{matchLabels: {a: b}}]}}",
            "values.sidecarInjectorWebhook.neverInjectSelector: has no effect here: Istio's chart copies it; give it \
             as injector.neverInjectSelector",
        ),
        (
            "values: {global: {proxy: {autoInject: disabled}}}",
            "values.global.proxy.autoInject: has no effect here: Istio's chart copies it; give it as injector.policy",
        ),
        (
            "values: {global: {tag: 1.30}}",
            "values.global.tag: 1.30 is read as the number 1.3; put it in quotes",
        ),
        (
            "mesh: {defaultConfig: {concurency: 1}}",
            r#"mesh.defaultConfig.concurency: unknown key, ignored; nearest: "concurrency""#,
        ),
        (
            "mesh: {defaultConfig: {interceptionMode: NONE}}",
            "mesh.defaultConfig.interceptionMode: NONE redirects nothing: each pod needs a Sidecar resource with ports \
             from 1024; with the CNI plugin no pod can start",
        ),
        (
            "proxyConfigs:\n- {apiVersion: networking.istio.io/v1beta1, kind: ProxyConfig, metadata: {name: a, \
             namespace: b}, spec: {concurency: 1}}",
            r#"proxyConfigs[0].spec.concurency: unknown key, ignored; nearest: "concurrency""#,
        ),
    ] {
        assert_eq!(warnings(text), [wanted], "{text}");
    }
}

#[test]
fn what_is_fine_is_not_warned_of() {
    for text in [
        "injector: {template: x, policy: null, templates: {}, aliases: {both: [sidecar, gateway]}}",
        "values: {sidecarInjectorWebhook: {neverInjectSelector: [{a: b}]}}\ninjector: {neverInjectSelector: \
         [{matchLabels: {a: b}}]}",
        "values: {global: {tag: 1.5, proxy: {statusPort: \"15020\", holdApplicationUntilProxyStarts: null}}}",
    ] {
        assert_eq!(warnings(text), [] as [&str; 0], "{text}");
    }
}
