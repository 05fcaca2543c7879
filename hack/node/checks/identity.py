"""The identity of a pod: its certificate, and who is refused without one."""

import pathlib
import re
import tempfile

from cluster import output_of, until
from scene import check, mutual_tls, pod, service

SPIFFE = "spiffe://cluster.local/ns/mesh/sa/"


@check(passes=("bundle", "istio"))
def both_ends_have_the_identity_of_their_service_account(cluster):
    """The server's proxy tells it the SPIFFE IDs of both ServiceAccounts."""
    answer = cluster.call("client", "http://server.mesh/who")
    told = answer.header("X-Forwarded-Client-Cert")
    assert f"By={SPIFFE}server" in told and f"URI={SPIFFE}client" in told, answer
    return told


@check(passes=("bundle", "istio"))
def the_certificate_is_verified_by_the_root_of_the_config_map(cluster):
    """The chain that a server presents is verified by `istio-ca-root-cert` and names the ServiceAccount; another name's is not."""
    root = cluster.get("ConfigMap", "istio-ca-root-cert")["data"]["root-cert.pem"]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "root.pem"
        file.write_text(root)
        address = f"{cluster.address('server')}:8080"
        said = output_of("sh", "-c", f"openssl s_client -connect {address} -alpn istio -CAfile {file} -showcerts </dev/null 2>/dev/null || true")
        leaf = pathlib.Path(folder) / "leaf.pem"
        leaf.write_text(said)
        names = output_of("openssl", "x509", "-in", leaf, "-noout", "-ext", "subjectAltName")
        file.write_text(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text())
        other = output_of("sh", "-c", f"openssl s_client -connect {address} -alpn istio -CAfile {file} </dev/null 2>/dev/null || true")
    assert "Verify return code: 0 (ok)" in said, said[-600:]
    assert f"URI:{SPIFFE}server" in names, names
    assert "Verify return code: 0 (ok)" not in other, "whatever CA is trusted, the chain is verified"
    return f"{names.strip().splitlines()[-1].strip()}; without that root: {re.findall(r'Verify return code: (.*)', other)[0]}"


@check(pod("strict"), pod("permissive"), service("strict"), service("permissive"), mutual_tls("permissive", "PERMISSIVE", "permissive"))
def strict_refuses_who_is_not_injected(cluster):
    """A client without a proxy is refused under STRICT, and answered without an identity under PERMISSIVE."""
    for name in ("strict", "permissive"):
        cluster.wait_ready(name)
    until("PERMISSIVE is in force", lambda: plain(cluster, "permissive").code == 0)
    refused, answered = plain(cluster, "strict"), plain(cluster, "permissive")
    assert refused.code == 7, refused
    assert answered.code == 0 and not answered.header("X-Forwarded-Client-Cert"), answered
    inside = cluster.reach("client", "http://permissive.mesh/")
    assert f"URI={SPIFFE}client" in inside.header("X-Forwarded-Client-Cert"), inside
    return f"STRICT: {str(refused)[-40:]}; PERMISSIVE: 200"


def plain(cluster, name):
    return cluster.call("outside", f"http://{name}.mesh.svc.cluster.local/", namespace="plain")


@check(pod("labelled", labels={"sidecar.istio.io/inject": "false"}), service("labelled"))
def who_opts_out_has_no_identity(cluster):
    """A pod that opts out starts without a proxy: STRICT refuses its requests, and its own clients call it without mTLS."""
    made = cluster.wait_ready("labelled")
    assert [one["name"] for one in made["spec"]["containers"]] == ["app"] and not made["spec"].get("initContainers")
    refused = cluster.call("labelled", "http://server.mesh/")
    assert refused.code == 7, refused
    called = cluster.reach("client", "http://labelled.mesh/")
    assert not called.header("X-Forwarded-Client-Cert"), called
    return f"its own request: {str(refused)[-40:]}"
