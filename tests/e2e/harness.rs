//! Tests the harness itself.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    balancer::{Balancer, Probe},
    control_plane::{
        Component, ControlPlane, Flavour, PATIENCE,
        supervised::{Ended, Janitor, Output, Supervised},
        until,
    },
    outrigger_process::Outrigger,
};

/// Set in a process that is to be killed; see [`nothing_outlives_the_process_of_the_tests`].
const DOOMED: &str = "OUTRIGGER_E2E_DOOMED";

fn sleep() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

fn runs(pid: u32) -> bool {
    // A zombie does not count as a process.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[tokio::test]
async fn nothing_outlives_the_process_of_the_tests() {
    if std::env::var_os(DOOMED).is_some() {
        let folder = tempfile::tempdir().expect("a folder");
        let _janitor = Janitor::of(folder.path()).expect("a janitor");
        let process = Supervised::start("sleep", &sleep(), Output::Lines).expect("a process");
        println!("\ndoomed {} {}", process.pid(), folder.path().display());
        std::thread::sleep(PATIENCE);
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "harness::nothing_outlives_the_process_of_the_tests", "--nocapture"]);
    let mut child = command.env(DOOMED, "1").stdout(Stdio::piped()).spawn().expect("this program");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let line = lines.map(|line| line.strip_prefix("doomed ").map(ToOwned::to_owned)).find_map(|line| line);
    let line = line.expect("a line");
    let (pid, folder) = line.split_once(' ').expect("two words");
    let (pid, folder) = (pid.parse().expect("a pid"), std::path::PathBuf::from(folder));
    assert!(runs(pid) && folder.is_dir());
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    until("the process is gone", PATIENCE, async || !runs(pid)).await;
    until("the folder is gone", PATIENCE, async || !folder.exists()).await;
}

#[tokio::test]
async fn a_process_ends_with_its_value_even_when_it_is_stopped() {
    let mut process = Supervised::start("sleep", &sleep(), Output::Lines).expect("a process");
    let pid = process.pid();
    assert!(runs(pid));
    process.signal("STOP");
    drop(process);
    assert!(!runs(pid));
}

#[tokio::test]
async fn an_end_is_told_as_it_was() {
    for (script, wanted) in [
        ("echo out; echo err >&2; exit 3", Ended::Code(3)),
        ("echo out; echo err >&2; exit 0", Ended::Code(0)),
        ("echo out; echo err >&2; kill -TERM $$", Ended::Signal(15)),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut process = Supervised::start("sh", &command, Output::Lines).expect("a process");
        until("it has ended", PATIENCE, async || process.try_wait().is_some()).await;
        assert_eq!(process.try_wait(), Some(wanted), "{script}");
        assert_eq!(process.lines().wait(1, PATIENCE, |_| true).as_deref(), Some("err"), "{script}");
        assert_eq!(process.lines().all(), ["out", "err"], "{script}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_can_be_frozen_killed_and_brought_back() {
    let mut control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("kept", &[]).await;
    let path = "/api/v1/namespaces/kept";
    control_plane.freeze(Component::ApiServer);
    let frozen = tokio::time::timeout(Duration::from_secs(1), control_plane.read(path)).await;
    assert!(frozen.is_err(), "a frozen API server answers: {frozen:?}");
    control_plane.thaw(Component::ApiServer);
    until("it answers again", PATIENCE, async || control_plane.read(path).await.is_ok()).await;
    for component in [Component::ApiServer, Component::Etcd, Component::ControllerManager] {
        control_plane.kill(component);
        if component == Component::ApiServer {
            control_plane.read(path).await.expect_err("a dead API server answers");
        }
        control_plane.restart(component).await;
        control_plane.read(path).await.unwrap_or_else(|error| panic!("after {component}: {error}"));
    }
    control_plane.create_namespace("later", &[]).await;
    assert!(control_plane.audit().iter().any(|entry| entry["objectRef"]["name"] == "later"));
    assert!(control_plane.metric("apiserver_request_total", &[r#"resource="namespaces""#]).await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_gives_connections_to_those_that_are_ready() {
    let mut a = Outrigger::serve().args(["--standalone", "--drain-delay=30s"]).start().await;
    let b = Outrigger::serve().args(["--standalone"]).start().await;
    let balancer = Balancer::start(Probe::default()).await;
    balancer.add("a", &a);
    balancer.add("b", &b);
    balancer.wait_ready(2).await;
    let connect =
        async || tokio::net::TcpStream::connect(("127.0.0.1", balancer.port())).await.expect("accepted");
    let kept = [connect().await, connect().await, connect().await, connect().await];
    until("connections are spread", PATIENCE, async || {
        (balancer.connections("a"), balancer.connections("b")) == (2, 2)
    })
    .await;
    // It is draining: it reports this, and continues to serve.
    a.signal("TERM");
    balancer.wait_ready(1).await;
    assert_eq!(balancer.ready(), ["b"]);
    let later = [connect().await, connect().await];
    until("the other one gets them", PATIENCE, async || balancer.connections("b") == 4).await;
    assert_eq!(balancer.connections("a"), 2);
    balancer.terminating("b");
    assert!(balancer.ready().is_empty());
    drop((kept, later));
}
