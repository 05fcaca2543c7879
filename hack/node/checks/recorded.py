"""Pods that Istio's own injector was recorded with, started: Istio's agent and Envoy judge what outrigger writes for them."""

import gzip
import json
import pathlib
import time

from cluster import Failed, containers, statuses, until
from scene import IMAGE, NATIVE, check, namespace

RECORDINGS = pathlib.Path(__file__).resolve().parents[3] / "tests/fixtures/istio/recordings.json.gz"
# Enough for every annotation that can be started, and few enough for a small machine.
AT_LEAST, MOST, AT_ONCE = 20, 32, 8
# These ask for something that is not on the node: another control plane, an image, a ConfigMap, AppArmor.
ELSEWHERE = (
    "sidecar.istio.io/discoveryAddress",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/proxyImageType",
    "container.apparmor.security.beta.kubernetes.io/istio-proxy",
    # An earlier injection's record names containers that are not in the pod as it is made here.
    "sidecar.istio.io/status",
    "proxy.istio.io/overrides",
)
WORDS = ("NONE", "discoveryAddress", "imageType", "configPath", "binaryPath", "customConfigFile", "BootstrapTemplate", "secret", "configMap", "hostPath", "persistent")
KEPT = ("name", "ports", "securityContext", "restartPolicy")


def container_of(recorded):
    """A container with the same name and ports that does nothing; the user's own proxy keeps its settings."""
    made = {key: recorded[key] for key in KEPT if key in recorded}
    if recorded["name"] == "istio-proxy":
        return {**made, "image": "auto", "imagePullPolicy": "IfNotPresent", "env": [one for one in recorded.get("env", []) if "value" in one]}
    lasts = recorded.get("restartPolicy") == "Always" or "restartPolicy" not in recorded
    return {**made, "image": IMAGE, "args": ["sleep", "1h"] if lasts else ["true"]}


def pod_of(call, number):
    """The recorded pod with images that the node has, or None if it asks for something that it lacks."""
    recorded = call["pod"]
    annotations = dict(recorded["metadata"].get("annotations") or {})
    if any(key in annotations for key in ELSEWHERE) or any(word in text for text in annotations.values() for word in WORDS):
        return None
    spec = recorded["spec"]
    if spec.get("hostNetwork") or spec.get("os") or not spec.get("containers"):
        return None
    if "/" in annotations.get("sidecar.istio.io/proxyImage", ""):
        annotations["sidecar.istio.io/proxyImage"] = "node.test/istio/proxyv2:node"
    # Half of them with an ordinary proxy.
    annotations.setdefault(NATIVE, str(number % 2 == 0).lower())
    inits = [container_of(one) for one in spec.get("initContainers", [])]
    for one in inits:
        if one.get("restartPolicy") != "Always" and one["name"] != "istio-proxy":
            one["args"] = ["true"]
    labels = {key: value for key, value in (recorded["metadata"].get("labels") or {}).items() if key != "istio.io/rev"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": call["name"].rsplit("-", 1)[0], "namespace": "recorded", "labels": labels, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [container_of(one) for one in spec["containers"]],
            "initContainers": inits,
            **{key: spec[key] for key in ("securityContext", "shareProcessNamespace") if key in spec},
        },
    }


def chosen(cluster):
    """Recorded pods that the API server accepts and outrigger injects; first those with annotations that no other had."""
    calls = json.loads(gzip.decompress(RECORDINGS.read_bytes()))["calls"]
    calls = [call for call in calls if call.get("patched") and call["name"].startswith(("golden-", "review-")) and call["name"].endswith("-native")]
    found, plain, seen = [], [], set()
    for number, call in enumerate(calls):
        made = pod_of(call, number)
        if not made:
            continue
        try:
            stored = cluster.request("POST", "/api/v1/namespaces/recorded/pods?dryRun=All", made)
        except Failed:
            continue
        if "istio-proxy" not in containers(stored):
            continue
        annotations = made["metadata"]["annotations"]
        new = set(annotations) | {annotations.get("inject.istio.io/templates"), annotations.get("proxy.istio.io/config")}
        (found if new - seen else plain).append(made)
        seen |= new
    pods = (found + plain)[:MOST]
    return pods, len({key for made in pods for key in made["metadata"]["annotations"]})


def started(pod):
    proxy = statuses(pod).get("istio-proxy", {})
    assert not proxy.get("restartCount"), f"{pod['metadata']['name']}: {json.dumps(proxy)[:400]}"
    return proxy.get("ready")


@check(namespace("recorded", istio_injection="enabled"), alone=True)
def recorded_pods_start(cluster):
    """Pods that Istio's injector was recorded with, with images that the node has: its agent accepts arguments and environment, and Envoy is ready."""
    until("the default ServiceAccount", lambda: not cluster.absent("ServiceAccount", "default", "recorded"))
    pods, annotations = chosen(cluster)
    assert len(pods) >= AT_LEAST, f"{len(pods)} pods can be started"
    begin = time.monotonic()
    for first in range(0, len(pods), AT_ONCE):
        wave = [made["metadata"]["name"] for made in pods[first : first + AT_ONCE]]
        for made in pods[first : first + AT_ONCE]:
            cluster.create(made)
        try:
            for name in wave:
                try:
                    until(f"the proxy of {name} is ready", lambda name=name: started(cluster.get("Pod", name, "recorded")))
                except AssertionError as error:
                    raise AssertionError(f"{error}: {cluster.story(cluster.get('Pod', name, 'recorded'))}") from error
        finally:
            for name in wave:
                cluster.delete("Pod", name, "recorded", wait=False)
    return f"{len(pods)} pods with {annotations} annotations, ready in {time.monotonic() - begin:.0f} s"
