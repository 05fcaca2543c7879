"""outrigger itself as pods of the node: how its own lifecycle affects the creation of pods. These run alone."""

import collections
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

from cluster import Failed, containers, is_ready, output_of, statuses, until
from scene import SERVE, check, pod, service

SYSTEM = "outrigger-system"
# How many pods are created while outrigger rolls: CREATES=5000 hack/node/run a_rolling_update
CREATES = int(os.environ.get("CREATES", "1000"))


class Creates:
    """Pods are created all the time (dry runs, on the server), by several users."""

    def __init__(self, cluster, users=3, pause=0.02):
        self.cluster, self.pause = cluster, pause
        self.outcomes, self.slowest, self.stop = collections.Counter(), 0.0, threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(users)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def work(self, number):
        count = 0
        while not self.stop.is_set():
            count += 1
            # No two are alike, so that none is answered as a sibling of another.
            made = pod(f"created-{number}-{count}", *SERVE, labels={"number": str(count)})
            begin = time.monotonic()
            try:
                stored = self.cluster.request("POST", "/api/v1/namespaces/mesh/pods?dryRun=All", made)
                outcome = "injected" if "istio-proxy" in containers(stored) else "not injected"
            except (OSError, Failed) as error:
                outcome = str(error)[:200]
            self.outcomes[outcome] += 1
            self.slowest = max(self.slowest, time.monotonic() - begin)
            time.sleep(self.pause)


def settled(cluster):
    """All replicas of the Deployment are of its last generation, and no other pod is there."""
    made = cluster.get("Deployment", "outrigger", SYSTEM)
    status = made["status"]
    wanted = made["spec"]["replicas"]
    numbers = [status.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")]
    return status.get("observedGeneration", 0) >= made["metadata"]["generation"] and numbers == [wanted] * 3


def pods(cluster):
    return cluster.list("Pod", SYSTEM, "labelSelector=app.kubernetes.io%2Fname%3Doutrigger")


@check(alone=True, passes=("bundle", "istio"))
def outrigger_runs_as_its_chart_says(cluster):
    """Two replicas are ready without a restart, as user 65532 with a read-only root, and the webhook calls their Service."""
    found = pods(cluster)
    assert len(found) == 2 and all(is_ready(one) for one in found), [one["status"] for one in found]
    assert all(statuses(one)["outrigger"]["restartCount"] == 0 for one in found)
    users = output_of("ps", "-o", "uid=", "-C", "outrigger").split()
    assert len(users) == 2 and set(users) == {"65532"}, users
    assert all(containers(one)["outrigger"]["securityContext"]["readOnlyRootFilesystem"] for one in found)
    webhook = cluster.request("GET", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/outrigger-sidecar-injector")
    for entry in webhook["webhooks"]:
        called = entry["clientConfig"]
        assert called.get("service", {}).get("namespace") == SYSTEM and "url" not in called and entry["failurePolicy"] == "Fail", called
    code, said = cluster.exec(found[0]["metadata"]["name"], "/bin/sh", namespace=SYSTEM, container="outrigger")
    assert code != 0 and ("no such file" in said or "not found" in said), said
    return f"{len(webhook['webhooks'])} entries by Service {called['service']['name']}, and no shell in the image"


@check(alone=True)
def a_rolling_update_of_outrigger_fails_no_create(cluster):
    """With `failurePolicy: Fail` at least 1,000 pods are created while the Deployment rolls: none fails, and each is injected."""
    until("it is settled", lambda: settled(cluster))
    rolls = 0
    with Creates(cluster) as creates:
        time.sleep(1)
        while rolls == 0 or sum(creates.outcomes.values()) < CREATES and rolls < CREATES // 200:
            rolls += 1
            restart = {"spec": {"template": {"metadata": {"annotations": {"checks/restarted": str(time.time())}}}}}
            cluster.patch("Deployment", "outrigger", restart, SYSTEM)
            until("it has rolled", lambda: settled(cluster) and len(pods(cluster)) == 2, 90)
        time.sleep(1)
    assert list(creates.outcomes) == ["injected"] and creates.outcomes["injected"] >= CREATES, creates.outcomes
    return f"{creates.outcomes['injected']} creates during {rolls} rolling updates, the slowest {creates.slowest:.2f} s"


@check(alone=True)
def a_lost_leader_fails_no_create_but_those_on_their_way(cluster):
    """The leader is deleted without grace: at most the requests on their way to it fail, and the other replica injects."""
    until("it is settled", lambda: settled(cluster))
    lease = cluster.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases")["items"]
    holders = {one["spec"].get("holderIdentity", "") for one in lease}
    leader = next(one["metadata"]["name"] for one in pods(cluster) if any(one["metadata"]["name"] in holder for holder in holders))
    with Creates(cluster) as creates:
        time.sleep(1)
        cluster.request("DELETE", f"/api/v1/namespaces/{SYSTEM}/pods/{leader}?gracePeriodSeconds=0")
        until("it is replaced", lambda: settled(cluster) and leader not in [one["metadata"]["name"] for one in pods(cluster)], 90)
        time.sleep(2)
    failed = sum(creates.outcomes.values()) - creates.outcomes["injected"]
    assert creates.outcomes["not injected"] == 0 and failed <= len(creates.threads), creates.outcomes
    return f"{creates.outcomes['injected']} injected, {failed} failed, the slowest {creates.slowest:.2f} s"


@check(pod("stays-up"), service("stays-up"), alone=True)
def a_kubelet_that_dies_takes_nothing_along(cluster):
    """While the kubelet is dead, a pod is reached over mTLS; when the kubelet is back, the containers are the same."""
    before = statuses(cluster.wait_ready("stays-up"))
    cluster.reach("client", "http://stays-up.mesh/")
    pid = int(output_of("pgrep", "-x", "kubelet"))
    command = pathlib.Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    folder = os.readlink(f"/proc/{pid}/cwd")
    os.kill(pid, signal.SIGKILL)
    try:
        # Without a kubelet nothing is run in a container, but in its network.
        address = cluster.get("Service", "stays-up")["spec"]["clusterIP"]
        said = output_of("nsenter", f"--net={cluster.network('client')}", "curl", "-sS", "-m", "10", "-H", "Host: stays-up.mesh", f"http://{address}/")
    finally:
        with open(f"{folder}/kubelet-again.log", "ab") as log:
            subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    assert "sa/client" in json.loads(said)["headers"]["X-Forwarded-Client-Cert"][0], said
    # It does its work again: a new pod becomes ready.
    cluster.create(pod("after-kubelet"))
    cluster.wait_ready("after-kubelet")
    cluster.delete("Pod", "after-kubelet", wait=False)
    after = statuses(cluster.get("Pod", "stays-up"))
    same = {name: one["containerID"] for name, one in before.items()} == {name: one["containerID"] for name, one in after.items()}
    assert same and not any(one["restartCount"] for one in after.values()), after
    return "200 meanwhile, no container restarted"


@check(pod("waits", *SERVE), service("waits"), alone=True)
def pods_are_injected_while_the_root_certificate_is_missing(cluster):
    """Without `istio-ca-root-cert`, a pod waits with a FailedMount that names it, and starts once the ConfigMap exists."""
    until("istiod is there", lambda: cluster.get("Deployment", "istiod", "istio-system")["status"].get("availableReplicas"))
    cluster.delete("Pod", "waits")
    cluster.scale("Deployment", "istiod", 0, "istio-system")
    try:
        until("istiod is away", lambda: not cluster.list("Pod", "istio-system"))
        root = cluster.get("ConfigMap", "istio-ca-root-cert")
        cluster.delete("ConfigMap", "istio-ca-root-cert")
        made = cluster.create(pod("waits", *SERVE))
        assert "istio-proxy" in containers(made), "a pod that is created while istiod is away is not injected"
        said = until("the event", lambda: cluster.events("waits", reason="FailedMount"), 30)
        assert "istio-ca-root-cert" in said[0], said
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-ca-root-cert", "namespace": "mesh"}, "data": root["data"]})
        until("its proxy runs", lambda: statuses(cluster.get("Pod", "waits")).get("istio-proxy", {}).get("state", {}).get("running"), 30)
        assert not is_ready(cluster.get("Pod", "waits"))
    finally:
        cluster.scale("Deployment", "istiod", 1, "istio-system")
    begin = time.monotonic()
    cluster.wait_ready("waits", seconds=90)
    return f"{said[0][-60:]}; ready {time.monotonic() - begin:.0f} s after istiod was asked back"
