"""Shared by the checks: how a check is declared, and its pods."""

import dataclasses
import typing

IMAGE = "node.test/app:1"
NATIVE = "sidecar.istio.io/nativeSidecar"
PROXY_CONFIG = "proxy.istio.io/config"
# The HTTP port, the TCP echo and the HTTPS port of `app serve`.
SERVE = ("serve", "-tcp", "9000", "-tls", "8444")
ORDINARY = {NATIVE: "false"}


@dataclasses.dataclass
class Check:
    """One claim, with the objects it is about. They are made when it begins, and its pods go when it ends."""

    name: str
    claim: str
    function: typing.Callable
    objects: tuple
    # It disturbs others, so it runs after them, and alone.
    alone: bool
    # With which installations it runs: "bundle", "istio", "pack".
    passes: tuple
    # The known fault that makes it fail. If it passes, the run fails, so that this is removed.
    known: str


CHECKS: list[Check] = []


def check(*objects, alone=False, passes=("bundle",), known=""):
    """Declares a check. The function is given the cluster and returns what it observed, in a few words."""

    def declare(function):
        claim = " ".join((function.__doc__ or "").split())
        assert claim, f"{function.__name__} has no claim"
        CHECKS.append(Check(function.__name__, claim, function, objects, alone, passes, known))
        return function

    return declare


def container(*arguments, name="app", **fields):
    return {"name": name, "image": IMAGE, "args": list(arguments), **fields}


def pod(name, *arguments, namespace="mesh", annotations=None, labels=None, spec=None, grace=2, **fields):
    """A pod of one container; `fields` are the container's, `spec` is the pod's."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": name, **(labels or {})},
            "annotations": annotations or {},
        },
        "spec": {
            "terminationGracePeriodSeconds": grace,
            "containers": [container(*(arguments or SERVE), **fields)],
            **(spec or {}),
        },
    }


def template(name, *arguments, annotations=None, labels=None, spec=None, grace=2, **fields):
    """The template of a workload's pods."""
    made = pod(name, *arguments, annotations=annotations, labels=labels, spec=spec, grace=grace, **fields)
    return {"metadata": {"labels": made["metadata"]["labels"], "annotations": made["metadata"]["annotations"]}, "spec": made["spec"]}


def workload(kind, name, made, **spec):
    """A Deployment, StatefulSet or DaemonSet of pods made by `template`."""
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "mesh"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": made, **spec},
    }


def job(name, *arguments, annotations=None, spec=None):
    made = template(name, *arguments, annotations=annotations, spec={"restartPolicy": "Never", **(spec or {})})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "mesh"},
        "spec": {"backoffLimit": 0, "template": made},
    }


def service(name, *ports, namespace="mesh", **spec):
    """A Service for the pods of a name; without ports, of HTTP at 80."""
    chosen = list(ports) or [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": chosen, **spec},
    }


def namespace(name, **labels):
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {key.replace("_", "-"): value for key, value in labels.items()}},
    }


def account(name):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "mesh"}}


def istio(kind, name, group, spec, space="mesh"):
    return {
        "apiVersion": f"{group}.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": space},
        "spec": spec,
    }


def mutual_tls(name, mode, selector=None):
    spec = {"mtls": {"mode": mode}}
    if selector:
        spec["selector"] = {"matchLabels": {"app": selector}}
    return istio("PeerAuthentication", name, "security", spec)


def http_get(path, port, **fields):
    return {"httpGet": {"path": path, "port": port, **fields}, **OFTEN}


# Every second, but with time for an answer on a busy machine.
OFTEN = {"periodSeconds": 1, "timeoutSeconds": 5}


# The requests of a pod under load: small enough to run beside the others on a busy machine.
BUSY = {"sidecar.istio.io/proxyCPU": "100m", "sidecar.istio.io/proxyMemory": "64Mi"}
SHARE = {"requests": {"cpu": "100m", "memory": "16Mi"}}

# The pods that always run: a server and a client of the mesh, and a client outside of it.
CAST = (
    account("server"),
    account("client"),
    mutual_tls("default", "STRICT"),
    service("server", {"name": "http", "port": 80, "targetPort": 8080}, {"name": "tcp-echo", "port": 9000}),
    service("outside", namespace="plain"),
    pod("server", annotations=BUSY, resources=SHARE, spec={"serviceAccountName": "server"}),
    pod("client", annotations=BUSY, resources=SHARE, spec={"serviceAccountName": "client"}),
    pod("outside", namespace="plain"),
)
