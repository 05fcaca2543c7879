"""The other templates at work."""

import json

from cluster import containers, until
from scene import check, istio, mutual_tls, pod, service

GATEWAY = {"name": "istio-proxy", "image": "auto", "imagePullPolicy": "IfNotPresent"}


def gateway_pod(name):
    made = pod(name, annotations={"inject.istio.io/templates": "gateway"}, labels={"istio": name})
    made["spec"]["containers"] = [GATEWAY]
    return made


ROUTE = {
    "hosts": ["shop.example.com"],
    "gateways": ["edge"],
    "http": [{"route": [{"destination": {"host": "server.mesh.svc.cluster.local", "port": {"number": 80}}}]}],
}


@check(
    gateway_pod("edge"),
    service("edge", {"name": "http", "port": 80, "targetPort": 80}),
    istio("Gateway", "edge", "networking", {
        "selector": {"istio": "edge"},
        "servers": [{"hosts": ["shop.example.com"], "port": {"number": 80, "name": "http", "protocol": "HTTP"}}],
    }),
    istio("VirtualService", "edge", "networking", ROUTE),
    passes=("bundle", "istio"),
)
def a_gateway_routes_a_request(cluster):
    """A pod of the gateway template routes a request from outside the mesh to a server under STRICT, by host; another host is not found."""
    cluster.wait_ready("edge")
    address = f"http://{cluster.address('edge')}:80/"
    ask = lambda host: cluster.call("outside", "-host", host, address, namespace="plain")
    until("the route is there", lambda: ask("shop.example.com").code == 0, 30, poll=1)
    answer = ask("shop.example.com")
    assert "URI=spiffe://cluster.local/ns/mesh/sa/default" in answer.header("X-Forwarded-Client-Cert"), answer
    other = ask("other.example.com")
    assert other.code == 22 and other.output.startswith("404 "), other
    return f"shop.example.com: 200, other.example.com: 404; the server is told {answer.header('X-Forwarded-Client-Cert')[-48:]}"


ADDRESS = {"name": "INSTANCE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
MUTUAL = {"host": "grpc-server.mesh.svc.cluster.local", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}


def agent_pod(name, *arguments):
    return pod(name, *arguments, annotations={"inject.istio.io/templates": "grpc-agent"}, command=["grpc"], env=[ADDRESS])


@check(
    agent_pod("grpc-server", "serve", "7070"),
    pod("grpc-client", annotations={"inject.istio.io/templates": "grpc-agent"}),
    service("grpc-server", {"name": "grpc-health", "port": 7070, "targetPort": 7070}),
    # Without it a client that has no proxy does not speak TLS.
    istio("DestinationRule", "grpc-server", "networking", MUTUAL),
)
def grpc_without_a_proxy_speaks_mutual_tls(cluster):
    """Pods of the template grpc-agent have neither Envoy nor redirection: xDS configures gRPC itself, and both ends see each other's identity."""
    for name in ("grpc-server", "grpc-client"):
        cluster.wait_ready(name)
        assert "ISTIO" not in cluster.tables(name, "nat")
    code, processes = cluster.exec("grpc-client", "ps", "-o", "comm", container="istio-proxy")
    assert code == 0 and "envoy" not in processes, processes
    target = "xds:///grpc-server.mesh.svc.cluster.local:7070"
    answer = lambda: cluster.exec("grpc-client", "grpc", "get", target)
    until("an answer", lambda: answer()[0] == 0, 40, poll=1)
    code, said = answer()
    identity = "spiffe://cluster.local/ns/mesh/sa/default"
    assert f"caller [{identity}] server {identity}" in said, said
    return said.strip()


@check(
    pod("simple-server", "serve", "-port", "7070"),
    pod("simple-client", annotations={"inject.istio.io/templates": "grpc-simple"}),
    service("simple-server", {"name": "grpc-health", "port": 7070, "targetPort": 7070}),
    mutual_tls("simple-server", "PERMISSIVE", "simple-server"),
)
def the_simple_grpc_template_finds_its_server(cluster):
    """A pod of the template grpc-simple asks istiod itself, without certificates, and reaches a server that admits everybody."""
    made = cluster.wait_ready("simple-client")
    cluster.wait_ready("simple-server")
    assert "istio-proxy" not in containers(made)
    code, said = cluster.exec("simple-client", "sh", "-c", "cat $GRPC_XDS_BOOTSTRAP")
    assert code == 0 and "istiod" in json.loads(said)["xds_servers"][0]["server_uri"], said
    answer = lambda: cluster.exec("simple-client", "grpc", "get", "xds:///simple-server.mesh.svc.cluster.local:7070")
    until("an answer", lambda: answer()[0] == 0, 20, poll=1)
    code, said = answer()
    assert said.startswith("SERVING") and "server nobody" in said, said
    return said.strip()
