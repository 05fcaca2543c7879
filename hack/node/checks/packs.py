"""Template packs: other proxies than Istio's, without a control plane."""

import pathlib

from cluster import containers, output_of, run, until
from scene import SERVE, check, pod, service

PACKS = pathlib.Path(__file__).resolve().parents[3] / "templates/packs"
ECHO = {"name": "echo", "port": 9000}
HTTP = {"name": "http", "port": 80, "targetPort": 8080}


def logged(cluster, name, *words):
    return [line for line in cluster.logs(name, "envoy").splitlines() if all(word in line for word in words)]


@check(
    pod("packed", *SERVE),
    pod("packed-skip", *SERVE, annotations={"example.com/skip-ports": "9000"}),
    pod("packed-client"),
    service("packed", HTTP, ECHO),
    service("packed-skip", HTTP, ECHO),
    passes=("pack",),
)
def an_envoy_without_a_control_plane_passes_traffic_and_logs_it(cluster):
    """Pods of the template pack `envoy`: HTTP and TCP pass both proxies and are in their access logs, except for ports that an annotation excludes."""
    output_of("kubectl", "apply", "-n", "mesh", "-f", PACKS / "envoy/bootstrap.yaml")
    for name in ("packed", "packed-skip", "packed-client"):
        made = cluster.wait_ready(name)
        assert "istio-proxy" not in containers(made) and "envoy" in containers(made), list(containers(made))
        assert "ENVOY_IN" in cluster.tables(name, "nat")
    answer = cluster.reach("packed-client", "http://packed.mesh/pack")
    # Envoy's own header: the application saw the request after the proxy.
    assert answer.header("X-Request-Id"), answer
    for name in ("packed", "packed-skip"):
        cluster.reach("packed-client", f"tcp://{name}.mesh:9000")
    outbound = until("the client's log", lambda: logged(cluster, "packed-client", "outbound", "packed.mesh /pack 200"))
    inbound = until("the server's log", lambda: logged(cluster, "packed", "inbound", "packed.mesh /pack 200"))
    until("the log of TCP", lambda: logged(cluster, "packed", "inbound", ":9000 "))
    assert not logged(cluster, "packed-skip", ":9000 "), "a port that is excluded passes the proxy"
    return f"{outbound[0]}; {inbound[0]}"


@check(pod("packed-late"), alone=True, passes=("pack",))
def a_pod_of_the_pack_waits_for_its_bootstrap(cluster):
    """Without the ConfigMap of the bootstrap the application does not start, and an event names it."""
    run("kubectl", "delete", "configmap", "-n", "mesh", "envoy-bootstrap", "--ignore-not-found")
    cluster.delete("Pod", "packed-late")
    cluster.create(pod("packed-late"))
    said = until("an event", lambda: [one for one in cluster.events("packed-late", reason="FailedMount") if "envoy-bootstrap" in one])
    output_of("kubectl", "apply", "-n", "mesh", "-f", PACKS / "envoy/bootstrap.yaml")
    cluster.wait_ready("packed-late")
    return said[0][-70:]
