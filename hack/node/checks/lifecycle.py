"""From the pod's creation to its last request."""

import json
import pathlib
import subprocess
import tempfile
import time

from cluster import containers, is_ready, run, statuses, until
from scene import BUSY, IMAGE, ORDINARY, PROXY_CONFIG, SERVE, SHARE, check, container, http_get, job, pod, service, template, workload

FIRST = (*SERVE, "-first", "http://server.mesh/first")
HOLD = {**ORDINARY, PROXY_CONFIG: "{holdApplicationUntilProxyStarts: true}"}


def first_line(cluster, name, container_name="app"):
    return until(f"{container_name} of {name} says something", lambda: cluster.logs(name, container_name).splitlines())[0]


@check(
    pod("native", *FIRST, spec={"initContainers": [container("get", "http://server.mesh/init", name="setup")]}),
    passes=("bundle", "istio"),
)
def a_native_proxy_is_there_first(cluster):
    """A request of the user's init container and the application's first request are answered: the native proxy was ready before."""
    made = cluster.wait_ready("native")
    names = [one["name"] for one in made["spec"]["initContainers"]]
    assert names.index("istio-proxy") < names.index("setup"), names
    lines = first_line(cluster, "native", "setup"), first_line(cluster, "native")
    assert all(line.startswith("200 ") for line in lines), lines
    return f"{', '.join(names)}: {lines[0]}, {lines[1]}"


@check(pod("held", *FIRST, annotations=HOLD), pod("hasty", *FIRST, annotations=ORDINARY))
def an_application_that_is_held_finds_its_proxy_ready(cluster):
    """`holdApplicationUntilProxyStarts` beside an ordinary proxy: the first request is answered; without it, it is not."""
    held = cluster.wait_ready("held")
    cluster.wait_ready("hasty")
    assert [one["name"] for one in held["spec"]["containers"]] == ["istio-proxy", "app"]
    with_hold, without = first_line(cluster, "held"), first_line(cluster, "hasty")
    assert with_hold.startswith("200 "), with_hold
    assert without.startswith("ERROR"), without
    return f"held: {with_hold}; not held: {without[-50:]}"


def helped(name, **annotations):
    own = container("serve", "-port", "8090", "-first", "http://server.mesh/", name="helper", restartPolicy="Always")
    proxy = {"name": "istio-proxy", "image": "auto", "imagePullPolicy": "IfNotPresent"}
    return pod(name, annotations=annotations, spec={"initContainers": [own, {**proxy, "restartPolicy": "Always"}]})


@check(helped("behind"))
def a_users_sidecar_comes_after_the_proxy(cluster):
    """A native sidecar of the user's that is listed before the proxy is moved after it: its first request is answered."""
    made = cluster.wait_ready("behind")
    names = [one["name"] for one in made["spec"]["initContainers"]]
    assert names.index("istio-proxy") < names.index("helper"), names
    line = first_line(cluster, "behind", "helper")
    assert line.startswith("200 "), line
    return ", ".join(names)


def finished(cluster, name, condition):
    return any(one["type"] == condition and one["status"] == "True" for one in cluster.get("Job", name)["status"].get("conditions", []))


def pod_of(cluster, name):
    return cluster.list("Pod", query=f"labelSelector=app%3D{name}")[0]


@check(job("once", "get", "http://server.mesh/job"), passes=("bundle", "istio"))
def a_job_completes(cluster):
    """A Job with a native proxy ends when its application does, after a request over mTLS."""
    begin = time.monotonic()
    until("the Job is complete", lambda: finished(cluster, "once", "Complete"))
    took = time.monotonic() - begin
    made = pod_of(cluster, "once")
    assert made["status"]["phase"] == "Succeeded" and statuses(made)["app"]["state"]["terminated"]["exitCode"] == 0
    assert cluster.logs(made["metadata"]["name"]).startswith("200 ")
    return f"after {took:.1f} s"


@check(job("fails", "get", "http://server.mesh:1/"))
def a_job_fails_by_its_applications_exit_code(cluster):
    """A Job whose application fails is Failed, although its proxy exits successfully."""
    until("the Job has failed", lambda: finished(cluster, "fails", "Failed"))
    made = pod_of(cluster, "fails")
    codes = {name: status["state"].get("terminated", {}).get("exitCode") for name, status in statuses(made).items()}
    assert codes["app"] == 7 or codes["app"] == 22, codes
    return json.dumps(codes)


@check(job("stays", "true", annotations=ORDINARY))
def a_job_with_an_ordinary_proxy_stays(cluster):
    """The contrast: an ordinary proxy keeps the pod of a Job running after the application has ended."""
    made = until("the application has ended", lambda: ended(cluster, "stays"))
    time.sleep(5)
    made = pod_of(cluster, "stays")
    assert made["status"]["phase"] == "Running" and not finished(cluster, "stays", "Complete")
    return f"{made['status']['phase']} 5 s after the application's end"


def ended(cluster, name):
    pods = cluster.list("Pod", query=f"labelSelector=app%3D{name}")
    return pods and "terminated" in statuses(pods[0]).get("app", {}).get("state", {}) and pods[0]


@check(
    workload("StatefulSet", "members", template("members", *FIRST, readinessProbe=http_get("/ready", 8080)), replicas=2, serviceName="members"),
    service("members", {"name": "http", "port": 8080}, clusterIP="None"),
)
def a_stateful_set_comes_up_in_order(cluster):
    """The second pod is created when the first, with its proxy, is ready; each is reached by its own name."""
    second = cluster_wait(cluster, "members-1")
    first = cluster.get("Pod", "members-0")
    (was_ready,) = [one["lastTransitionTime"] for one in first["status"]["conditions"] if one["type"] == "Ready"]
    assert was_ready <= second["metadata"]["creationTimestamp"], (was_ready, second["metadata"]["creationTimestamp"])
    for name in ("members-0", "members-1"):
        assert "istio-proxy" in containers(cluster.get("Pod", name)) and first_line(cluster, name).startswith("200 ")
    answer = cluster.reach("client", "http://members-1.members.mesh:8080/")
    assert answer.document()["host"] == "members-1", answer
    return f"members-0 ready {was_ready}, members-1 made {second['metadata']['creationTimestamp']}"


def cluster_wait(cluster, name):
    until(f"{name} is there", lambda: not cluster.absent("Pod", name))
    return cluster.wait_ready(name)


@check(workload("DaemonSet", "daemon", template("daemon", *FIRST)))
def a_daemon_set_is_there_on_every_node(cluster):
    """A DaemonSet's pod has its proxy, and the DaemonSet counts it as ready."""
    until("it is ready", lambda: cluster.get("DaemonSet", "daemon")["status"].get("numberReady") == 1)
    made = pod_of(cluster, "daemon")
    assert "istio-proxy" in containers(made) and first_line(cluster, made["metadata"]["name"]).startswith("200 ")
    return "1 of 1"


class Request:
    """A request from the client that is in flight."""

    def __init__(self, url):
        command = ["kubectl", "exec", "-n", "mesh", "client", "-c", "app", "--", "app", "get", "-timeout", "30s", url]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def answer(self):
        return self.process.communicate(timeout=60)[0].strip()


def answer_at_deletion(cluster, name):
    """The answer to a request of 8 s whose server's pod is deleted meanwhile, and when the pod is gone."""
    cluster.wait_ready(name)
    cluster.reach("client", f"http://{name}.mesh/")
    request = Request(f"http://{name}.mesh/slow?for=8s")
    until("the request has arrived", lambda: "begun /slow" in cluster.logs(name), 10, poll=0.1)
    begin = time.monotonic()
    cluster.delete("Pod", name)
    return request.answer(), time.monotonic() - begin


@check(pod("long-native", grace=30), service("long-native"), passes=("bundle", "istio"))
def a_long_request_outlives_the_deletion_of_its_server(cluster):
    """With a native proxy, a request of 8 s is answered, although its server's pod is deleted in the meantime."""
    answer, took = answer_at_deletion(cluster, "long-native")
    assert answer.startswith("200 "), answer
    return f"200; the pod is gone after {took:.1f} s"


@check(pod("long-ordinary", annotations=ORDINARY, grace=30), service("long-ordinary"))
def an_ordinary_proxy_cuts_long_requests(cluster):
    """The contrast: an ordinary proxy ends 5 s after the signal, and requests still in flight get 503."""
    answer, took = answer_at_deletion(cluster, "long-ordinary")
    assert answer.startswith("503 "), answer
    return f"{' '.join(answer.split())[:100]}; the pod is gone after {took:.1f} s"


ZERO = {**ORDINARY, PROXY_CONFIG: '{proxyMetadata: {EXIT_ON_ZERO_ACTIVE_CONNECTIONS: "true"}}'}


@check(pod("long-zero", annotations=ZERO, grace=30), service("long-zero"))
def an_ordinary_proxy_can_wait_for_long_requests(cluster):
    """EXIT_ON_ZERO_ACTIVE_CONNECTIONS: the ordinary proxy stays until the request is answered, and no longer."""
    answer, took = answer_at_deletion(cluster, "long-zero")
    assert answer.startswith("200 "), answer
    assert took < 25, f"the pod is gone after {took:.1f} s"
    return f"200; the pod is gone after {took:.1f} s"


@check(pod("killed", spec={"restartPolicy": "Never"}), service("killed"))
def an_envoy_that_is_killed_comes_back(cluster):
    """Even with `restartPolicy: Never`, a native proxy whose Envoy is killed is restarted, and the application is not."""
    cluster.wait_ready("killed")
    cluster.reach("client", "http://killed.mesh/")
    code, said = cluster.exec("killed", "sh", "-c", "kill -9 $(ps -o pid,comm | sed -n 's/ *\\([0-9]*\\) envoy.*/\\1/p')", container="istio-proxy")
    assert code == 0, said
    begin = time.monotonic()
    until("the proxy is restarted", lambda: statuses(cluster.get("Pod", "killed"))["istio-proxy"]["restartCount"] == 1)
    made = cluster.wait_ready("killed")
    cluster.reach("client", "http://killed.mesh/")
    assert statuses(made)["app"]["restartCount"] == 0 and statuses(made)["istio-init"]["restartCount"] == 0
    return f"answers {time.monotonic() - begin:.1f} s after the kill"


EVERY_MINUTE = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "ticks", "namespace": "mesh"},
    "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job("ticks", "get", "http://server.mesh/cron")["spec"]}},
}


@check(EVERY_MINUTE)
def a_cron_job_completes(cluster):
    """A CronJob's run succeeds after its application has sent a request over mTLS, and the CronJob records the success."""
    done = lambda: cluster.get("CronJob", "ticks")["status"].get("lastSuccessfulTime")
    scheduled = lambda: cluster.get("CronJob", "ticks")["status"].get("lastScheduleTime")
    until("it is scheduled", scheduled, 90, poll=1)
    until("a run succeeds", done, poll=0.5)
    (ran, *_) = cluster.list("Pod", query="labelSelector=app%3Dticks")
    exits = {name: one["state"].get("terminated", {}).get("exitCode") for name, one in statuses(ran).items()}
    assert exits == {"istio-init": 0, "istio-proxy": 0, "app": 0}, exits
    said = cluster.logs(ran["metadata"]["name"])
    assert "X-Forwarded-Client-Cert" in said, said
    return f"scheduled {scheduled()}, succeeded {done()}"


@check(pod("debugged"), service("debugged"))
def a_pod_can_be_debugged(cluster):
    """`kubectl debug`: an ephemeral container in an injected pod calls with the pod's identity, and a copy of the pod starts with one proxy."""
    cluster.wait_ready("debugged")
    image = ("--image", IMAGE, "--profile", "general")
    code, said = run("kubectl", "debug", "-n", "mesh", "debugged", *image, "-c", "debugger", "--", "app", "get", "http://server.mesh/debug")
    assert code == 0, said
    ended = lambda: any(
        one["state"].get("terminated") for one in cluster.get("Pod", "debugged")["status"].get("ephemeralContainerStatuses", [])
    )
    until("the debugger ends", ended)
    said = cluster.logs("debugged", "debugger")
    assert "200" in said.split("\n", 1)[0] and "sa/default" in said and "X-Forwarded-Client-Cert" in said, said
    for annotations in ("true", "false"):
        name = f"copied-{annotations}"
        code, output = run("kubectl", "debug", "-n", "mesh", "debugged", "--copy-to", name, f"--keep-annotations={annotations}", *image, "-c", "debugger", "--", "app", "sleep", "1h")
        assert code == 0, output
        try:
            made = cluster.wait_ready(name)
            names = [one["name"] for one in made["spec"]["initContainers"] + made["spec"]["containers"]]
            assert sorted(names) == ["app", "debugger", "istio-init", "istio-proxy"], names
            cluster.reach(name, "http://server.mesh/copy")
        finally:
            cluster.delete("Pod", name, wait=False)
    return f"{said.splitlines()[0]}; copies with and without annotations are ready"


def processes_of(cluster, name, container_name):
    """The process IDs of a container, on the node."""
    container_id = statuses(cluster.get("Pod", name))[container_name]["containerID"].rpartition("/")[2]
    code, said = run("ctr", "-n", "k8s.io", "tasks", "ps", container_id)
    assert code == 0, said
    return [line.split()[0] for line in said.splitlines()[1:]]


FEW = {"sidecar.istio.io/proxyMemory": "16Mi", "sidecar.istio.io/proxyMemoryLimit": "160Mi", "sidecar.istio.io/proxyCPU": "5m", "sidecar.istio.io/proxyCPULimit": "2"}


@check(pod("starved", annotations=FEW), service("starved"))
def a_proxy_without_memory_comes_back(cluster):
    """A proxy that exceeds its memory limit is OOMKilled and restarted, and the application is not; afterward it can be reached again."""
    cluster.wait_ready("starved")
    cluster.reach("client", "http://starved.mesh/")
    # The kernel should kill the agent or Envoy, not the process that takes the memory.
    for process in processes_of(cluster, "starved", "istio-proxy"):
        pathlib.Path(f"/proc/{process}/oom_score_adj").write_text("1000")
    begin = time.monotonic()
    # Data written to a volume in memory counts as the container's.
    cluster.exec("starved", "busybox", "dd", "if=/dev/zero", "of=/etc/istio/proxy/hog", "bs=1M", "count=400", container="istio-proxy")
    restarted = lambda: statuses(cluster.get("Pod", "starved"))["istio-proxy"]["restartCount"]
    until("the proxy is restarted", restarted)
    made = cluster.wait_ready("starved")
    last = statuses(made)["istio-proxy"]["lastState"]["terminated"]
    # 137 if the kernel killed the agent, 0 if it killed Envoy, after which the agent ends by itself.
    assert last["reason"] == "OOMKilled" and last["exitCode"] in (0, 137), last
    cluster.reach("client", "http://starved.mesh/")
    assert statuses(made)["app"]["restartCount"] == 0 and statuses(made)["istio-init"]["restartCount"] == 0
    return f"{last['reason']} {last['exitCode']}, answers {time.monotonic() - begin:.1f} s later"


@check(pod("resandboxed"), service("resandboxed"))
def a_lost_sandbox_is_redirected_again(cluster):
    """When a pod loses its sandbox, the new network namespace has the rules of the old one."""
    cluster.wait_ready("resandboxed")
    rules = cluster.tables("resandboxed", "nat").count("ISTIO_")
    address = cluster.address("resandboxed")
    code, sandbox = run("ctr", "-n", "k8s.io", "containers", "list", "-q", "labels.\"io.kubernetes.pod.name\"==resandboxed,labels.\"io.cri-containerd.kind\"==sandbox")
    assert code == 0 and len(sandbox.split()) == 1, sandbox
    code, said = run("ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", sandbox.strip())
    assert code == 0, said
    until("another address", lambda: cluster.get("Pod", "resandboxed")["status"].get("podIP") not in (None, address))
    cluster.wait_ready("resandboxed")
    assert cluster.tables("resandboxed", "nat").count("ISTIO_") == rules > 0
    cluster.reach("client", "http://resandboxed.mesh/")
    return f"{rules} rules before and after"


@check(pod("resized", annotations={"sidecar.istio.io/proxyCPULimit": "500m", "sidecar.istio.io/proxyMemoryLimit": "256Mi", "sidecar.istio.io/proxyCPU": "5m", "sidecar.istio.io/proxyMemory": "16Mi"}))
def a_proxy_is_resized_in_place(cluster):
    """The proxy's limits are raised while the pod runs: no container restarts, and the cgroup has the new ones."""
    cluster.wait_ready("resized")
    more = {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"cpu": "1500m", "memory": "300Mi"}}
    cluster.patch("Pod", "resized", {"spec": {"initContainers": [{"name": "istio-proxy", "resources": more}]}}, subresource="/resize")
    until("it is resized", lambda: statuses(cluster.get("Pod", "resized"))["istio-proxy"].get("resources", {}).get("limits") == more["limits"])
    made = cluster.get("Pod", "resized")
    assert [one["restartCount"] for one in statuses(made).values()] == [0, 0, 0], cluster.story(made)
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"
    code, limit = cluster.exec("resized", "sh", "-c", f"cat {files[0]} 2>/dev/null || cat {files[1]}", container="istio-proxy")
    assert code == 0 and int(limit) == 300 << 20, limit
    return "cpu 500m to 1500m, memory 256Mi to 300Mi, no restart"


@check(
    pod("none-dns", *FIRST, spec={"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.244.0.1"], "searches": ["mesh.svc.cluster.local", "svc.cluster.local", "cluster.local"]}}),
    pod("short-dns", *FIRST, spec={"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.244.0.1"], "searches": ["mesh.svc.cluster.local"]}}),
)
def dns_policy_none_needs_the_clusters_domain(cluster):
    """`dnsPolicy: None` with `cluster.local` among the searches: the pod starts; without it the proxy does not find istiod."""
    cluster.wait_ready("none-dns")
    said = until("the agent's complaint", lambda: complaint(cluster, "short-dns"), 40)
    assert not is_ready(cluster.get("Pod", "short-dns"))
    return f"without: {said[-90:]}"


def complaint(cluster, name):
    if "running" not in statuses(cluster.get("Pod", name)).get("istio-proxy", {}).get("state", {}):
        return None
    lines = [line for line in cluster.logs(name, "istio-proxy").splitlines() if "no such host" in line]
    return lines[0] if lines else None


@check(
    pod("odd", spec={"shareProcessNamespace": True, "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True, "fsGroup": 2000}}),
    pod("narrow", spec={"securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}},
        securityContext={"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}),
)
def restricted_pods_and_shared_namespaces_are_served(cluster):
    """Pods with users and groups of their own, a read-only root, no capabilities, or shared processes: requests over mTLS."""
    for name in ("odd", "narrow"):
        cluster.wait_ready(name)
        answer = cluster.call(name, "http://server.mesh/")
        assert answer.code == 0 and answer.header("X-Forwarded-Client-Cert"), answer
    return "200 each"


SMALL = {"resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "300Mi"}}}


@check(pod("whole", spec=SMALL), pod("whole-ordinary", annotations=ORDINARY, spec=SMALL))
def pods_with_limits_of_their_own_start(cluster):
    """A pod whose own limits (`spec.resources`) are below the proxy's default ones starts, with a native and with an ordinary proxy."""
    limits = []
    for name in ("whole", "whole-ordinary"):
        made = cluster.wait_ready(name)
        assert cluster.reach(name, "http://server.mesh/").header("X-Forwarded-Client-Cert")
        limits.append(json.dumps(containers(made)["istio-proxy"]["resources"].get("limits")))
    return f"limits of the proxies: {', '.join(limits)}"


@check(pod("chosen", *SERVE, annotations=HOLD), passes=("bundle", "istio"))
def kubectl_chooses_the_application(cluster):
    """If the proxy is the first container, `kubectl logs`, `exec` and `cp` without `-c` still select the application, because of annotations."""
    cluster.wait_ready("chosen")
    code, said = run("kubectl", "logs", "-n", "mesh", "chosen")
    assert code == 0 and "serving on" in said, said[:200]
    code, said = run("kubectl", "exec", "-n", "mesh", "chosen", "--", "app", "true")
    assert code == 0, said
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("copied")
        file.flush()
        code, said = run("kubectl", "cp", "-n", "mesh", file.name, "chosen:/tmp/copied")
        assert code == 0, said
    assert cluster.exec("chosen", "cat", "/tmp/copied") == (0, "copied")
    assert cluster.exec("chosen", "cat", "/tmp/copied", container="istio-proxy")[0] != 0
    keys = ("kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container")
    cluster.patch("Pod", "chosen", {"metadata": {"annotations": dict.fromkeys(keys)}})
    code, said = run("kubectl", "logs", "-n", "mesh", "chosen")
    assert code == 0 and "serving on" not in said, "the application is chosen without annotations as well"
    return "app; without the annotations istio-proxy"
