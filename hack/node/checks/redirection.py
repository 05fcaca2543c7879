"""Which traffic passes the proxy: seen by the counters of the pod's own rules, and by who is refused under STRICT."""

import re
import socket

from cluster import containers, until
from scene import NATIVE, PROXY_CONFIG, check, istio, pod, service

INTERCEPTION = "sidecar.istio.io/interceptionMode"
TRAFFIC = "traffic.sidecar.istio.io/"
BOTH = ("bundle", "istio")


def packets(cluster, name, table, target):
    """How many connections went through the rules with a target, such as `REDIRECT 15001`."""
    verb, port = target.split()
    counted = 0
    for line in cluster.tables(name, table).splitlines():
        words = line.split()
        if len(words) > 2 and words[2] == verb and re.search(rf"\b{port}\b", line):
            counted += int(words[0])
    return counted


def connect(address, port):
    """A connection from the node, which is not of the mesh."""
    socket.create_connection((address, port), timeout=5).close()


@check(pod("redirected"), passes=BOTH)
def connections_are_redirected_both_ways(cluster):
    """Each connection into and out of a pod passes the rules of its own network namespace once."""
    made = cluster.wait_ready("redirected")
    # Who wrote the rules: the pod's own init container, or Istio's CNI plugin, whose rules an init container only tests.
    writer = {"bundle": "istio-init", "istio": "istio-validation"}[cluster.turn]
    assert made["spec"]["initContainers"][0]["name"] == writer, list(containers(made))
    address = cluster.address("redirected")
    before = packets(cluster, "redirected", "nat", "REDIRECT 15006"), packets(cluster, "redirected", "nat", "REDIRECT 15001")
    for _ in range(3):
        connect(address, 8080)
        answer = cluster.call("redirected", "http://server.mesh/")
        assert answer.code == 0, answer
    after = packets(cluster, "redirected", "nat", "REDIRECT 15006"), packets(cluster, "redirected", "nat", "REDIRECT 15001")
    assert (after[0] - before[0], after[1] - before[1]) == (3, 3), f"{before} became {after}"
    return f"3 connections each way: 3 packets at 15006, 3 at 15001, with {writer}"


@check(pod("tproxy", annotations={INTERCEPTION: "TPROXY"}), service("tproxy"), passes=BOTH)
def tproxy_keeps_the_clients_address(cluster):
    """With TPROXY, the application sees the address of its client; with REDIRECT, it does not."""
    cluster.wait_ready("tproxy")
    client = cluster.address("client")
    answer = cluster.reach("client", "http://tproxy.mesh/")
    assert answer.document()["remote"].startswith(f"{client}:"), answer
    assert answer.header("X-Forwarded-Client-Cert"), answer
    marked = packets(cluster, "tproxy", "mangle", "TPROXY 15006")
    assert marked > 0, "no packet went through TPROXY"
    redirected = cluster.call("client", "http://server.mesh/").document()["remote"]
    assert redirected.startswith("127.0.0.6:"), redirected
    return f"{client}, and {marked} packets through TPROXY; with REDIRECT the application sees {redirected.split(':')[0]}"


# Without it istiod asks for listeners at ports such as 80 of 127.0.0.1, which the proxy's user may not have.
EXPLICIT = {
    "workloadSelector": {"labels": {"app": "none"}},
    "ingress": [{"port": {"number": 8081, "protocol": "HTTP", "name": "http"}, "defaultEndpoint": "127.0.0.1:8080"}],
    "egress": [{"port": {"number": 8888, "protocol": "HTTP_PROXY", "name": "http"}, "bind": "127.0.0.1", "hosts": ["./*"]}],
}


# With the CNI plugin such a pod does not start: it takes REDIRECT and TPROXY alone.
@check(istio("Sidecar", "none", "networking", EXPLICIT), pod("none", annotations={INTERCEPTION: "NONE"}))
def none_redirects_nothing(cluster):
    """With NONE the pod has no rules: a request past the proxy is refused by STRICT, one to the proxy's own port has an identity."""
    made = cluster.wait_ready("none")
    assert "istio-init" not in [one["name"] for one in made["spec"].get("initContainers", [])]
    assert "ISTIO" not in cluster.tables("none", "nat") + cluster.tables("none", "mangle")
    past = cluster.call("none", "http://server.mesh/")
    assert past.code == 7, past
    through = cluster.reach("none", "-host", "server.mesh.svc.cluster.local", "http://127.0.0.1:8888/")
    assert "ns/mesh/sa/default" in through.header("X-Forwarded-Client-Cert"), through
    return f"no chain of Istio's; past the proxy: {str(past)[-40:]}, to its port: 200"


def only_8080_is_guarded(cluster, name):
    """Port 9000 is reached from outside of the mesh, 8080 is not; from inside both are answered."""
    cluster.wait_ready(name)
    address = cluster.address(name)
    open_port = cluster.call("outside", f"tcp://{address}:9000", namespace="plain")
    guarded = cluster.call("outside", f"http://{address}:8080/", namespace="plain")
    assert open_port.code == 0, open_port
    assert guarded.code == 7, guarded
    inside = cluster.reach("client", f"http://{name}.mesh/")
    assert inside.header("X-Forwarded-Client-Cert"), inside
    return f"9000 is answered, 8080: {str(guarded)[-40:]}"


@check(pod("notin", annotations={TRAFFIC + "excludeInboundPorts": "9000"}), service("notin"), passes=BOTH)
def excluded_inbound_ports_pass_the_proxy_by(cluster):
    """`excludeInboundPorts: 9000` under STRICT: only that port can be reached from outside the mesh."""
    return only_8080_is_guarded(cluster, "notin")


@check(pod("onlyin", annotations={TRAFFIC + "includeInboundPorts": "8080"}), service("onlyin"), passes=BOTH)
def included_inbound_ports_are_the_only_ones_guarded(cluster):
    """`includeInboundPorts: 8080` under STRICT: every other port can be reached from outside the mesh."""
    return only_8080_is_guarded(cluster, "onlyin")


@check(pod("allin"), passes=BOTH)
def every_inbound_port_is_guarded_by_default(cluster):
    """Without annotations, STRICT refuses clients without an identity on every port."""
    cluster.wait_ready("allin")
    address = cluster.address("allin")
    refused = [cluster.call("outside", url, namespace="plain") for url in (f"http://{address}:8080/", f"tcp://{address}:9000")]
    assert [one.code for one in refused] == [7, 7], [str(one) for one in refused]
    return f"8080 and 9000: {str(refused[0])[-40:]}"


@check(pod("notout", annotations={TRAFFIC + "excludeOutboundPorts": "80"}), passes=BOTH)
def excluded_outbound_ports_pass_the_proxy_by(cluster):
    """`excludeOutboundPorts: 80`: traffic to it has no identity, so STRICT refuses it; another port goes through."""
    cluster.wait_ready("notout")
    past, through = cluster.call("notout", "http://server.mesh/"), cluster.call("notout", "tcp://server.mesh:9000")
    assert past.code == 7, past
    assert through.code == 0, through
    return f"80: {str(past)[-40:]}; 9000 is answered"


@check(pod("onlyout", annotations={TRAFFIC + "includeOutboundIPRanges": "", TRAFFIC + "includeOutboundPorts": "9000"}), passes=BOTH)
def included_outbound_ports_are_the_only_ones_redirected(cluster):
    """`includeOutboundPorts: 9000` without ranges: that port goes through the proxy, 80 does not."""
    cluster.wait_ready("onlyout")
    past, through = cluster.call("onlyout", "http://server.mesh/"), cluster.call("onlyout", "tcp://server.mesh:9000")
    assert past.code == 7, past
    assert through.code == 0, through
    return f"80: {str(past)[-40:]}; 9000 is answered"


@check(
    pod("norange", annotations={TRAFFIC + "includeOutboundIPRanges": "192.0.2.0/24"}),
    pod("services", annotations={TRAFFIC + "includeOutboundIPRanges": "10.96.0.0/24"}),
    passes=BOTH,
)
def included_outbound_ranges_are_the_only_ones_redirected(cluster):
    """`includeOutboundIPRanges`: traffic to the Service bypasses the proxy if the range does not contain its address, and goes through the proxy if it does."""
    for name in ("norange", "services"):
        cluster.wait_ready(name)
    past, through = cluster.call("norange", "http://server.mesh/"), cluster.call("services", "http://server.mesh/")
    assert past.code == 7, past
    assert through.code == 0 and "ns/mesh/sa/default" in through.header("X-Forwarded-Client-Cert"), through
    return f"past: {str(past)[-40:]}"


@check(
    pod("cutrange", annotations={TRAFFIC + "excludeOutboundIPRanges": "10.96.0.0/24"}),
    pod("otherrange", annotations={TRAFFIC + "excludeOutboundIPRanges": "192.0.2.0/24"}),
    passes=BOTH,
)
def excluded_outbound_ranges_pass_the_proxy_by(cluster):
    """`excludeOutboundIPRanges`: traffic to the Service bypasses the proxy if the range contains its address, and goes through the proxy if it does not."""
    for name in ("cutrange", "otherrange"):
        cluster.wait_ready(name)
    past, through = cluster.call("cutrange", "http://server.mesh/"), cluster.call("otherrange", "http://server.mesh/")
    assert past.code == 7, past
    assert through.code == 0, through
    return f"past: {str(past)[-40:]}"


@check(
    pod("capture", annotations={PROXY_CONFIG: '{proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}}'}),
    istio("ServiceEntry", "only-in-istio", "networking", {
        "hosts": ["only.in.istio"], "location": "MESH_INTERNAL", "resolution": "DNS",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": "outside.plain.svc.cluster.local"}],
    }),
    passes=BOTH,
)
def captured_dns_knows_the_names_of_the_mesh(cluster):
    """With DNS capture, a name that only istiod knows is resolved; without it, there is no such host."""
    cluster.wait_ready("capture")
    until("the name is known", lambda: cluster.call("capture", "http://only.in.istio/").code == 0, 30, poll=1)
    without = cluster.call("client", "http://only.in.istio/")
    assert without.code == 7 and "no such host" in without.output, without
    return str(without)[-50:]


@check(pod("proxyuser", spec={"securityContext": {"runAsUser": 1337, "runAsGroup": 1337}}), passes=BOTH)
def the_proxys_own_user_is_not_redirected(cluster):
    """Traffic that an application sends as the proxy's user bypasses the proxy, so STRICT refuses it."""
    cluster.wait_ready("proxyuser")
    answer = cluster.call("proxyuser", "http://server.mesh/")
    assert answer.code == 7, answer
    return f"STRICT: {str(answer)[-40:]}"
