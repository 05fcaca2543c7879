"""Rolling updates under load: whether a request is lost."""

import base64
import json
import subprocess
import time

from cluster import containers, until
from scene import BUSY, ORDINARY, SERVE, SHARE, check, http_get, namespace, service, template, workload


SLEEP = {"preStop": {"sleep": {"seconds": 5}}}


def rolling(name, annotations):
    made = template(
        name, *SERVE, annotations={**BUSY, **annotations}, grace=20, lifecycle=SLEEP, resources=SHARE, readinessProbe=http_get("/ready", 8080)
    )
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return workload("Deployment", name, made, replicas=2, strategy=strategy)


def sleeping(name, annotations):
    """The same without a hook of its own."""
    made = rolling(name, annotations)
    for one in made["spec"]["template"]["spec"]["containers"]:
        del one["lifecycle"]
    return made


def load(name, space="mesh"):
    """POSTs from the client at a rate of 100 a second, until standard input ends."""
    command = ["kubectl", "exec", "-i", "-n", "mesh", "client", "-c", "app", "--"]
    command += ["app", "load", "-rate", "100", "-method", "POST", f"http://{name}.{space}/"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def has_rolled(status, generation):
    return status.get("observedGeneration", 0) >= generation and [status.get(key) for key in ("updatedReplicas", "availableReplicas", "replicas")] == [2, 2, 2]


def available(cluster, name, space="mesh"):
    until("it is available", lambda: cluster.get("Deployment", name, space)["status"].get("availableReplicas") == 2)
    cluster.reach("client", f"http://{name}.{space}/")


def restart(cluster, name, space="mesh"):
    """As `kubectl rollout restart`."""
    cluster.patch("Deployment", name, {"spec": {"template": {"metadata": {"annotations": {"rolled": str(time.monotonic())}}}}}, space)


def rolled(cluster, name, space="mesh"):
    """Waits until the old pods are gone; returns the new ones."""
    generation = cluster.get("Deployment", name, space)["metadata"]["generation"]
    until("it has rolled", lambda: has_rolled(cluster.get("Deployment", name, space)["status"], generation), 90)
    pods = lambda: cluster.list("Pod", space, f"labelSelector=app%3D{name}")
    until("the old pods are gone", lambda: len(pods()) == 2)
    return pods()


def answers(one, seconds):
    """The answers by status, when a load has ended."""
    said = json.loads(one.communicate(timeout=60)[0])
    number = sum(said["counts"].values())
    assert number > seconds * 50, f"{number} requests in {seconds:.0f} s are no load"
    return said


def roll(cluster, names):
    """Rolls Deployments of two under load; returns the answers by status for each, and how long it took."""
    for name in names:
        available(cluster, name)
    loads = [load(name) for name in names]
    time.sleep(2)
    begin = time.monotonic()
    for name in names:
        restart(cluster, name)
    for name in names:
        rolled(cluster, name)
    took = time.monotonic() - begin
    time.sleep(1)
    return [answers(one, took) for one in loads], took


def is_flawless(one):
    return list(one["counts"]) == ["200"]


ROLLED = ("rolled", "rolled-ordinary")


@check(rolling("rolled", {}), rolling("rolled-ordinary", ORDINARY), *map(service, ROLLED), alone=True)
def a_rollout_of_the_server_fails_no_request(cluster):
    """With a preStop sleep in the application a rolling update under 100 POSTs a second fails none of them, with native and ordinary proxies."""
    said, took = roll(cluster, ROLLED)
    assert all(map(is_flawless, said)), said
    return f"{said[0]['counts']['200']} and {said[1]['counts']['200']} requests, rolled in {took:.0f} s"


SLEPT = {"outrigger.dev/preStopSleepSeconds": "5"}
ANNOTATED = ("slept", "slept-ordinary")


@check(
    sleeping("slept", SLEPT), sleeping("slept-ordinary", {**ORDINARY, **SLEPT}), sleeping("sleepless", {}),
    *map(service, (*ANNOTATED, "sleepless")),
    alone=True,
)
def an_annotation_makes_a_rollout_fail_no_request(cluster):
    """`outrigger.dev/preStopSleepSeconds` gives applications the sleep: a rolling update under 100 POSTs a second fails none; without it, some."""
    for name, hooked in (("slept", ["app"]), ("slept-ordinary", ["app", "istio-proxy"])):
        made = until("a pod", lambda: cluster.list("Pod", query=f"labelSelector=app%3D{name}"))[0]
        found = [one["name"] for one in containers(made).values() if "sleep" in one.get("lifecycle", {}).get("preStop", {})]
        assert sorted(found) == hooked, f"{name}: {found}"
    said, took = roll(cluster, ANNOTATED)
    assert all(map(is_flawless, said)), said
    # How many fail is a matter of chance; that none fails in three rollouts is not.
    for _ in range(3):
        (bare,), _ = roll(cluster, ["sleepless"])
        failed = sum(bare["counts"].values()) - bare["counts"]["200"]
        if failed:
            break
    assert failed, bare
    return f"{said[0]['counts']['200']} and {said[1]['counts']['200']} requests, rolled in {took:.0f} s; without it {failed} of {sum(bare['counts'].values())} fail"


BY = "checks/injected-by"


def webhook_of_istiod(cluster):
    """istiod's injector, for namespaces of a revision of its own: hack/node/install leaves istiod without a webhook."""
    root = cluster.get("ConfigMap", "istio-ca-root-cert")["data"]["root-cert.pem"]
    service = {"name": "istiod", "namespace": "istio-system", "path": "/inject", "port": 443}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "by-istiod"},
        "webhooks": [{
            "name": "namespace.by-istiod.test",
            "clientConfig": {"service": service, "caBundle": base64.b64encode(root.encode()).decode()},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"istio.io/rev": "by-istiod"}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
        }],
    }


@check(alone=True)
def a_namespace_moves_from_istiods_injector_and_back(cluster):
    """The label of a namespace moves its pods from istiod's injector to outrigger and back, by rolling updates under 100 POSTs a second: none fails."""
    space = "moved"
    labels = {"istiod": {"istio.io/rev": "by-istiod", "istio-injection": None}, "outrigger": {"istio.io/rev": None, "istio-injection": "enabled"}}
    made = rolling("moved", {})
    made["metadata"]["namespace"] = space
    cluster.apply(webhook_of_istiod(cluster), namespace(space, **{"istio.io/rev": "by-istiod"}))
    try:
        until("the root certificate", lambda: not cluster.absent("ConfigMap", "istio-ca-root-cert", space))
        until("the default ServiceAccount", lambda: not cluster.absent("ServiceAccount", "default", space))
        cluster.apply(made, service("moved", namespace=space))
        available(cluster, "moved", space)
        injectors = lambda pods: {one["metadata"]["annotations"].get(BY, "outrigger") for one in pods if "istio-proxy" in containers(one)}
        assert injectors(rolled(cluster, "moved", space)) == {"istiod"}
        one = load("moved", space)
        time.sleep(2)
        begin = time.monotonic()
        for injector in ("outrigger", "istiod"):
            cluster.request("PATCH", cluster.path("Namespace", None, space), {"metadata": {"labels": labels[injector]}}, "application/merge-patch+json")
            restart(cluster, "moved", space)
            pods = rolled(cluster, "moved", space)
            assert len(pods) == 2 and injectors(pods) == {injector}, (injector, injectors(pods))
        took = time.monotonic() - begin
        time.sleep(1)
        said = answers(one, took)
    finally:
        cluster.delete("MutatingWebhookConfiguration", "by-istiod", None)
        cluster.delete("Namespace", space, None, wait=False)
    assert is_flawless(said), said
    return f"{said['counts']['200']} requests, there and back in {took:.0f} s"
