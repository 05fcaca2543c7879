"""Probes and hooks under STRICT: the kubelet has no identity, so it asks the agent, which asks the application."""

import json
import subprocess
import time

from cluster import containers, is_ready, statuses, until
from scene import OFTEN, ORDINARY, PROXY_CONFIG, SERVE, check, container, http_get, pod

X = "X-Probe"


def named(value):
    return [{"name": X, "value": value}]


PROBED = {
    "startupProbe": http_get("/started", "http", httpHeaders=named("startup")),
    "readinessProbe": http_get("/ready", 8444, scheme="HTTPS", httpHeaders=named("readiness")),
    "livenessProbe": {"tcpSocket": {"port": 9000}, **OFTEN},
    "lifecycle": {
        "postStart": {"httpGet": {"path": "/post-start", "port": 8080}},
        "preStop": {"httpGet": {"path": "/pre-stop", "port": 8080}},
    },
}
PORTS = [{"name": "http", "containerPort": 8080}]


def asked(cluster, name, *words):
    return [line for line in cluster.logs(name).splitlines() if all(word in line for word in words)]


def probed_through_the_agent(cluster, name):
    made = cluster.wait_ready(name)
    time.sleep(3)
    made = cluster.get("Pod", name)
    assert is_ready(made) and statuses(made)["app"]["restartCount"] == 0, cluster.story(made)
    app = containers(made)["app"]
    paths = [app[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert paths == [f"/app-health/app/{kind}" for kind in ("startupz", "readyz", "livez")], paths
    startup, ready = asked(cluster, name, "probe startup"), asked(cluster, name, "probe readiness")
    assert startup and "/started" in startup[0] and "tls false" in startup[0], startup
    assert ready and "/ready" in ready[0] and "tls true" in ready[0], ready
    # The hook may come before the application listens; then the agent says that it was called.
    told = cluster.logs(name) + cluster.logs(name, "istio-proxy")
    assert "/post-start" in told, "nobody was told of postStart"
    follow = subprocess.Popen(["kubectl", "logs", "-f", "-n", "mesh", name, "-c", "app"], stdout=subprocess.PIPE, text=True)
    cluster.delete("Pod", name)
    assert "GET /pre-stop" in follow.communicate(timeout=30)[0], "preStop did not reach the application"
    return f"startup by HTTP, readiness by HTTPS, liveness by TCP; asked for readiness {len(ready)} times"


@check(pod("probed", *SERVE, ports=PORTS, **PROBED), passes=("bundle", "istio"))
def probes_and_hooks_reach_the_application(cluster):
    """HTTP, HTTPS and TCP probes reach the application, with their headers, port names and TLS; postStart and preStop hooks go through the agent."""
    return probed_through_the_agent(cluster, "probed")


@check(pod("probed-ordinary", *SERVE, annotations={**ORDINARY, PROXY_CONFIG: "{holdApplicationUntilProxyStarts: true}"}, ports=PORTS, **PROBED))
def probes_and_hooks_reach_the_application_beside_an_ordinary_proxy(cluster):
    """The same where the proxy is an ordinary container that the application waits for."""
    return probed_through_the_agent(cluster, "probed-ordinary")


@check(pod("grpc-probed", readinessProbe={"grpc": {"port": 8080}, **OFTEN}, livenessProbe={"exec": {"command": ["app", "true"]}, **OFTEN}))
def grpc_probes_reach_the_application(cluster):
    """A gRPC probe asks the application's health service; an exec probe runs in the container."""
    made = cluster.wait_ready("grpc-probed")
    calls = asked(cluster, "grpc-probed", "/grpc.health.v1.Health/Check", "HTTP/2.0")
    assert calls, cluster.logs("grpc-probed")
    assert "exec" in containers(made)["app"]["livenessProbe"]
    return calls[0]


def wait_ready_proxy(cluster, name):
    """The pod once its status says that the proxy is ready: the kubelet sends an event at once, and a status some seconds later."""

    def ready():
        made = cluster.get("Pod", name)
        return statuses(made).get("istio-proxy", {}).get("ready") and made

    return until(f"the proxy of {name} is ready", ready)


@check(
    pod("deaf", readinessProbe=http_get("/ready", 1234)),
    pod("deaf-tcp", readinessProbe={"tcpSocket": {"port": 1234}, **OFTEN}),
    pod("deaf-grpc", readinessProbe={"grpc": {"port": 1234}, **OFTEN}),
)
def probes_of_a_dead_port_fail(cluster):
    """Where nothing listens, no probe succeeds: the agent does not answer on its own."""
    said = []
    for name in ("deaf", "deaf-tcp", "deaf-grpc"):
        found = until(f"an event of {name}", lambda: [one for one in cluster.events(name, reason="Unhealthy") if "Readiness" in one], 60)
        made = wait_ready_proxy(cluster, name)
        assert not is_ready(made) and not statuses(made)["app"]["ready"], cluster.story(made)
        said.append(found[-1])
    return said[0][-80:]


@check(pod("falls", readinessProbe=http_get("/ready", 8080)))
def readiness_follows_the_application(cluster):
    """An application that responds with 503 is not ready, and is ready again when it responds with 200."""
    cluster.wait_ready("falls")
    assert cluster.call("falls", "http://127.0.0.1:8080/down").code == 0
    until("it is not ready", lambda: not is_ready(cluster.get("Pod", "falls")))
    said = until("an event", lambda: [one for one in cluster.events("falls", reason="Unhealthy") if "statuscode: 503" in one])
    assert cluster.call("falls", "http://127.0.0.1:8080/up").code == 0
    until("it is ready again", lambda: is_ready(cluster.get("Pod", "falls")))
    return said[0]


@check(pod("dies", "serve", "-after", "1s", livenessProbe={"tcpSocket": {"port": 8099}, **OFTEN, "failureThreshold": 2}))
def a_failing_liveness_probe_restarts_the_application_alone(cluster):
    """The application is restarted, its proxy is not."""
    restarted = until("a restart", lambda: restarts(cluster, "dies", "app") > 0 and cluster.get("Pod", "dies"))
    assert statuses(restarted)["istio-proxy"]["restartCount"] == 0
    return "app 1, istio-proxy 0"


def restarts(cluster, name, container_name):
    return statuses(cluster.get("Pod", name)).get(container_name, {}).get("restartCount", 0)


@check(pod("left", annotations={"sidecar.istio.io/rewriteAppHTTPProbers": "false"}, readinessProbe=http_get("/ready", 8080)))
def probes_that_are_left_alone_are_refused(cluster):
    """The contrast: without the rewrite STRICT refuses the kubelet."""
    said = until("an event", lambda: [one for one in cluster.events("left", reason="Unhealthy") if "Readiness" in one and ":8080" in one])
    made = wait_ready_proxy(cluster, "left")
    assert not is_ready(made), cluster.story(made)
    return said[-1][-90:]


@check(pod("statusport", annotations={"status.sidecar.istio.io/port": "15030"}, readinessProbe=http_get("/ready", 8080)))
def the_status_port_may_be_another(cluster):
    """`status.sidecar.istio.io/port`: the agent answers probes there, and the pod is ready."""
    made = cluster.wait_ready("statusport")
    probe = containers(made)["app"]["readinessProbe"]["httpGet"]
    assert probe["port"] == 15030, probe
    assert asked(cluster, "statusport", "GET /ready")
    return f"{probe['path']} at 15030"


@check(pod("elsewhere"))
def a_probe_of_another_host_asks_that_host(cluster):
    """A probe that names another host is answered by that host, as without a proxy."""
    # Its address is known only now.
    cluster.delete("Pod", "elsewhere")
    cluster.create(pod("elsewhere", readinessProbe=http_get("/ready", 8080, host=cluster.address("outside", "plain"))))
    probe = containers(cluster.wait_ready("elsewhere"))["app"]["readinessProbe"]["httpGet"]
    assert probe["port"] == 8080, probe
    return f"{probe['host']}:8080, ready"


HELPER = container(
    "serve", "-port", "8090", name="helper", restartPolicy="Always", ports=[{"name": "helper", "containerPort": 8090}], startupProbe=http_get("/helper", "helper"),
)


@check(pod("helped", spec={"initContainers": [HELPER]}))
def a_native_helper_is_probed_beside_a_native_proxy(cluster):
    """A sidecar of the user's with a startup probe starts after the proxy and is probed through it."""
    made = cluster.wait_ready("helped")
    names = [one["name"] for one in made["spec"]["initContainers"]]
    assert names.index("istio-proxy") < names.index("helper"), names
    assert statuses(made)["helper"]["restartCount"] == 0
    assert "GET /helper" in cluster.logs("helped", "helper")
    return ", ".join(names)


@check(pod("helped-ordinary", annotations=ORDINARY, spec={"initContainers": [HELPER]}))
def a_native_helper_starts_before_an_ordinary_proxy(cluster):
    """Its startup probe does not go through the proxy, which only starts after the probe has succeeded."""
    made = cluster.wait_ready("helped-ordinary")
    helper = containers(made)["helper"]
    assert helper["startupProbe"]["httpGet"]["path"] == "/helper", helper["startupProbe"]
    assert statuses(made)["helper"]["restartCount"] == 0
    return json.dumps(helper["startupProbe"]["httpGet"])
