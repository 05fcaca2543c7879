use super::{
    super::assess::tests::{ANNOTATION, ca, entry, other, pems},
    *,
};

const NAME: &str = "outrigger-sidecar-injector";

fn named(mut entry: Entry, name: &str) -> Entry {
    name.clone_into(&mut entry.name);
    entry
}

#[test]
fn a_configuration_has_one_truth() {
    let (ours, theirs) = (ca(), other());
    let of = |bundle: &[_], manager| entry(&pems(bundle), Some(manager), None, &[&ours], &[]);
    let foreign = of(&[&theirs], "kubectl-edit");
    let extended = of(&[&theirs, &ours], "kubectl-edit");
    let entries = [
        named(extended.clone(), "a"),
        named(foreign.clone(), "b"),
        named(of(&[&ours], "outrigger-ca-bundle"), "c"),
        named(foreign, "d"),
    ];
    let Some(Remark::Conflict(text)) = remark(NAME, &entries, None) else { panic!() };
    assert_eq!(
        text,
        "mutatingwebhookconfiguration outrigger-sidecar-injector: the caBundle of 2 of 4 webhooks (b, d) does not hold our \
         CA and is maintained by kubectl-edit; left alone; to fix it, run outrigger webhook adopt outrigger-sidecar-injector, which \
         hands all of them over to this server, or --certificate files if they are to stay as they are"
    );
    let Some(Remark::Note(text)) = remark(NAME, &[extended], None) else { panic!() };
    assert!(text.contains("contains CAs besides ours, set by kubectl-edit"), "{text}");
    assert_eq!(remark(NAME, &[], None), None);
}

// While a cainjector is requested to write, a caBundle that was emptied or handed over is overwritten again.
#[test]
fn whoever_still_writes_is_sent_away_first() {
    let (ours, theirs) = (ca(), other());
    let foreign = entry(&pems(&[&theirs]), Some("argocd"), Some(ANNOTATION), &[&ours], &[]);
    let Some(Remark::Conflict(text)) = remark(NAME, &[foreign], Some(ANNOTATION)) else { panic!() };
    let command = format!("kubectl annotate mutatingwebhookconfiguration {NAME} {ANNOTATION}-");
    assert!(text.find(&command).unwrap() < text.find("outrigger webhook adopt").unwrap(), "{text}");
    assert!(undone(NAME, Some(ANNOTATION)).contains(&command));
    assert_eq!(undone(NAME, None), "");
}
