"""The API server of the test node, and what a person would type with kubectl. It runs in the node's namespaces."""

import http.client
import json
import os
import pathlib
import re
import ssl
import subprocess
import threading
import time

# Seconds that something quick may take, even on a busy machine.
PATIENCE = float(os.environ.get("PATIENCE", "120"))
# Group and version, and the name in paths.
RESOURCES = {
    "ConfigMap": ("api/v1", "configmaps"),
    "CronJob": ("apis/batch/v1", "cronjobs"),
    "DaemonSet": ("apis/apps/v1", "daemonsets"),
    "DestinationRule": ("apis/networking.istio.io/v1", "destinationrules"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "Event": ("api/v1", "events"),
    "Gateway": ("apis/networking.istio.io/v1", "gateways"),
    "Job": ("apis/batch/v1", "jobs"),
    "MutatingWebhookConfiguration": ("apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations"),
    "Namespace": ("api/v1", "namespaces"),
    "PeerAuthentication": ("apis/security.istio.io/v1", "peerauthentications"),
    "Pod": ("api/v1", "pods"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "ServiceEntry": ("apis/networking.istio.io/v1", "serviceentries"),
    "Sidecar": ("apis/networking.istio.io/v1", "sidecars"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
    "VirtualService": ("apis/networking.istio.io/v1", "virtualservices"),
}


class Failed(AssertionError):
    """The API server refused, with its status code."""

    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Cluster:
    """One user of the API server. Threads have connections of their own."""

    def __init__(self, kubeconfig):
        text = pathlib.Path(kubeconfig).read_text()
        (self.token,) = re.findall(r'token: "(\w+)"', text)
        ((self.host, port),) = re.findall(r'server: "https://([\d.]+):(\d+)"', text)
        self.port = int(port)
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.local = threading.local()
        # What the run omits, and its configuration: see `check`.
        self.mutation, self.turn = None, "bundle"

    def request(self, method, path, body=None, kind="application/json"):
        """The answer's document; raises any answer but success."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, "Accept": "application/json"}
        text = json.dumps(body) if body is not None else None
        for attempt in (1, 2):
            connection = getattr(self.local, "connection", None)
            try:
                if connection is None:
                    connection = http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=PATIENCE)
                    self.local.connection = connection
                connection.request(method, path, text, headers)
                answer = connection.getresponse()
                content = answer.read()
                break
            except (OSError, http.client.HTTPException):
                # A connection that was idle for long may be closed.
                self.local.connection = None
                if attempt == 2:
                    raise
        if answer.status >= 300:
            try:
                raise Failed(answer.status, json.loads(content).get("message", ""))
            except ValueError:
                raise Failed(answer.status, content.decode(errors="replace")) from None
        is_document = answer.headers.get("Content-Type", "").startswith("application/json")
        return json.loads(content) if is_document else content.decode(errors="replace")

    def path(self, kind, namespace, name=""):
        version, plural = RESOURCES[kind]
        inside = "" if kind == "Namespace" or not namespace else f"/namespaces/{namespace}"
        return f"/{version}{inside}/{plural}" + (f"/{name}" if name else "")

    def apply(self, *objects):
        """Server-side apply, as `kubectl apply --server-side --force-conflicts`."""
        for thing in objects:
            metadata = thing["metadata"]
            path = self.path(thing["kind"], metadata.get("namespace"), metadata["name"])
            self.request("PATCH", f"{path}?fieldManager=checks&force=true", thing, "application/apply-patch+yaml")

    def create(self, thing):
        return self.request("POST", self.path(thing["kind"], thing["metadata"].get("namespace")), thing)

    def get(self, kind, name, namespace="mesh"):
        return self.request("GET", self.path(kind, namespace, name))

    def list(self, kind, namespace="mesh", query=""):
        return self.request("GET", self.path(kind, namespace) + (f"?{query}" if query else ""))["items"]

    def patch(self, kind, name, change, namespace="mesh", subresource=""):
        path = self.path(kind, namespace, name) + subresource
        return self.request("PATCH", path, change, "application/strategic-merge-patch+json")

    def scale(self, kind, name, replicas, namespace="mesh"):
        path = self.path(kind, namespace, name) + "/scale"
        self.request("PATCH", path, {"spec": {"replicas": replicas}}, "application/merge-patch+json")

    def delete(self, kind, name, namespace="mesh", wait=True, seconds=PATIENCE):
        try:
            self.request("DELETE", self.path(kind, namespace, name) + "?propagationPolicy=Background")
        except Failed as failed:
            if failed.status != 404:
                raise
        if wait:
            until(f"{kind} {name} is gone", lambda: self.absent(kind, name, namespace), seconds)

    def absent(self, kind, name, namespace="mesh"):
        try:
            self.get(kind, name, namespace)
        except Failed as failed:
            if failed.status == 404:
                return True
            raise
        return False

    def exec(self, name, *command, namespace="mesh", container="app", seconds=PATIENCE):
        """Exit code and output of a command in a container."""
        return run("kubectl", "exec", "-n", namespace, name, "-c", container, "--", *command, seconds=seconds)

    def call(self, name, *arguments, namespace="mesh", container="app", seconds=PATIENCE):
        """`app get` in a pod."""
        return Answer(*self.exec(name, "app", "get", *arguments, namespace=namespace, container=container, seconds=seconds))

    def reach(self, name, *arguments, namespace="mesh", seconds=PATIENCE):
        """The same, until it is answered with 200: istiod takes its time to tell proxies about new pods."""
        end = time.monotonic() + seconds
        while True:
            answer = self.call(name, *arguments, namespace=namespace)
            if answer.code == 0:
                return answer
            if time.monotonic() > end:
                raise AssertionError(f"{name} is not answered after {seconds} s: {answer}")
            time.sleep(0.5)

    def logs(self, name, container="app", namespace="mesh"):
        return self.request("GET", self.path("Pod", namespace, name) + f"/log?container={container}")

    def events(self, name, namespace="mesh", reason=""):
        chosen = f"involvedObject.name={name}" + (f",reason={reason}" if reason else "")
        return [event["message"] for event in self.list("Event", namespace, f"fieldSelector={chosen}")]

    def address(self, name, namespace="mesh"):
        return self.get("Pod", name, namespace)["status"]["podIP"]

    def network(self, name, namespace="mesh"):
        """The file of a pod's network namespace."""
        address = self.address(name, namespace)
        for file in sorted(pathlib.Path("/run/netns").iterdir()):
            code, output = run("nsenter", f"--net={file}", "ip", "-4", "-o", "address", "show", "dev", "eth0")
            if code == 0 and f" {address}/" in output:
                return file
        raise AssertionError(f"{name}: there is no network namespace with {address}")

    def tables(self, name, table, namespace="mesh"):
        """The rules of a pod with their counters, as iptables lists them."""
        return output_of("nsenter", f"--net={self.network(name, namespace)}", "iptables", "-w", "-t", table, "-nvxL")

    def wait_ready(self, name, namespace="mesh", seconds=PATIENCE):
        end = time.monotonic() + seconds
        while True:
            pod = self.get("Pod", name, namespace)
            if is_ready(pod):
                return pod
            if time.monotonic() > end:
                raise AssertionError(f"{name} is not ready after {seconds} s: {self.story(pod)}")
            time.sleep(0.3)

    def story(self, pod):
        """Why a pod is not ready, for messages."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        states = {status["name"]: status["state"] for status in statuses(pod).values()}
        return f"{json.dumps(states)[:500]} {' | '.join(self.events(name, namespace))[-400:]}"


class Answer:
    """What `app get` said: a code of 0 is a 200, 22 another status, 7 no answer at all."""

    def __init__(self, code, output):
        self.code, self.output = code, output

    def document(self):
        return json.loads(self.output.split("\n", 1)[1])

    def header(self, name):
        return (self.document()["headers"].get(name) or [""])[0]

    def __str__(self):
        return f"code {self.code}: {self.output.strip()[-300:]}"


def run(*command, seconds=PATIENCE):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds)
    return result.returncode, result.stdout if result.returncode == 0 or result.stdout else result.stderr


def output_of(*command, seconds=PATIENCE):
    code, output = run(*command, seconds=seconds)
    assert code == 0, f"{' '.join(map(str, command))}: code {code}: {output}"
    return output


def until(what, claim, seconds=PATIENCE, poll=0.3):
    """Waits until a claim holds, and returns its result."""
    end = time.monotonic() + seconds
    while True:
        found = claim()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(poll)


def is_ready(pod):
    conditions = pod["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def statuses(pod):
    """Statuses of all containers by name."""
    both = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
    return {status["name"]: status for status in both}


def containers(pod):
    """All containers by name."""
    return {container["name"]: container for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]}


def kubeconfig():
    return os.environ["KUBECONFIG"]
