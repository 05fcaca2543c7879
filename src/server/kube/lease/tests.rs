use prometheus_client::registry::Registry;
use serde_json::json;

use super::*;
use crate::server::kube::scripted::{Requests, Store, until};
use crate::server::readiness::Readiness;
use crate::server::shutdown::Control;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/ours/leases/leader";

/// A candidate called `us`.
struct Rig {
    store: Store,
    requests: Requests,
    election: Election,
    phase: Control,
    gate: Gate,
}

fn rig(store: Store) -> Rig {
    let (client, requests) = store.serve();
    let mut registry = Registry::default();
    let options =
        Options { namespace: "ours".to_owned(), name: "leader".to_owned(), identity: "us".to_owned() };
    let (phase, gate) = (Control::new(), Readiness::default().gate("leader", "nobody leads"));
    let supervisor = Supervisor::register(&mut registry);
    let election = start(client, options, gate.clone(), Counter::default(), phase.watch(), supervisor);
    Rig { store, requests, election, phase, gate }
}

impl Rig {
    fn leads(&self) -> bool {
        *self.election.leading.borrow()
    }

    fn holder(&self) -> String {
        let lease = self.store.get(PATH).unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }
}

/// A Lease that another replica holds.
fn of_another() -> Store {
    let store = Store::default();
    store.put(
        PATH,
        json!({
            "metadata": {"name": "leader", "namespace": "ours"},
            "spec": {"holderIdentity": "another", "leaseDurationSeconds": 15, "leaseTransitions": 3,
                "acquireTime": "2026-01-02T03:04:05.000000Z", "renewTime": "2026-01-02T03:04:05.000000Z"},
        }),
    );
    store
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_made_renewed_and_given_back() {
    let rig = rig(Store::default());
    until("it leads", || rig.leads()).await;
    assert_eq!(rig.holder(), "us");
    let before = rig.requests.all().len();
    tokio::time::sleep(RENEW * 10).await;
    let renewals = rig.requests.all().len() - before;
    assert!(rig.leads() && (9..=11).contains(&renewals), "{renewals}");
    rig.phase.advance(Phase::Draining);
    let Rig { election, store, .. } = rig;
    election.task.await.unwrap();
    assert!(!*election.leading.borrow());
    assert_eq!(store.get(PATH).unwrap()["spec"]["holderIdentity"].as_str().unwrap_or_default(), "");
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_another_is_taken_only_when_it_was_not_renewed_for_its_whole_time() {
    let rig = rig(of_another());
    let begun = Instant::now();
    until("it is known who leads", || rig.gate.state().detail == "the leader is another").await;
    assert!(!rig.leads());
    until("it leads", || rig.leads()).await;
    assert!(begun.elapsed() >= DURATION, "{:?}", begun.elapsed());
    assert_eq!(
        (rig.holder().as_str(), &rig.store.get(PATH).unwrap()["spec"]["leaseTransitions"]),
        ("us", &json!(4))
    );
}

// K-03, K-04
#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_steps_down_before_others_may_take_over() {
    let rig = rig(Store::default());
    until("it leads", || rig.leads()).await;
    rig.store.freeze(true);
    let frozen = Instant::now();
    until("it does not lead", || !rig.leads()).await;
    assert!(frozen.elapsed() < DURATION, "{:?}", frozen.elapsed());
    let problem = rig.gate.state().problem.unwrap();
    assert!(
        problem.starts_with("cannot update leases ours/leader: the API server did not respond"),
        "{problem}"
    );
    rig.store.freeze(false);
    until("it leads again", || rig.leads()).await;
    assert_eq!(rig.gate.state().problem, None);
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_was_taken_stops_at_once() {
    let rig = rig(Store::default());
    until("it leads", || rig.leads()).await;
    let mut lease = rig.store.get(PATH).unwrap();
    lease["spec"]["holderIdentity"] = json!("another");
    rig.store.put(PATH, lease);
    until("it does not lead", || !rig.leads()).await;
    assert_eq!(rig.holder(), "another", "and does not take it back");
}

// L-10
#[test]
fn a_clock_that_is_far_off_is_corrected_and_one_that_is_near_is_not() {
    let ours = Clock::default().now();
    for (ahead, wanted) in [(3, 0), (-5, 0), (3600, 3600), (-3600, -3600)] {
        let clock = Clock::default();
        clock.note(ours + ahead);
        let corrected = clock.now() - Clock::default().now();
        // The clock may advance to the next second in between.
        assert!((corrected - wanted).abs() <= 2, "{ahead}: {corrected}");
    }
}
