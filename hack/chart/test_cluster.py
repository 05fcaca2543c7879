"""Tests the chart's objects on a real API server. Run it with hack/chart/apiserver."""

import base64
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

import yaml
from chart import CHART, IMAGE, NAMESPACE, ROOT, VALUES, helm, kubectl, namespace_of, objects, render, tools, values_of

CRDS = [
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("cert-manager.io", "v1", "Certificate", "certificates"),
    ("cert-manager.io", "v1", "Issuer", "issuers"),
]
RULES = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"}]
NEEDS_CRDS = {"callers", "advice-cert-manager", "callers-mounted", "cert-manager", "cert-manager-issuer", "everything", "files-mode"}
TIMEOUT = 30


def run(*command, stdin=None, check=True):
    result = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, text=True)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {result.stderr}{result.stdout}")
    return result


def k(*arguments, **options):
    return run(kubectl(), *arguments, **options)


def eventually(claim, what):
    """API servers take some seconds to notice policies and definitions."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if claim():
            return
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {TIMEOUT} s")


def namespace(name, **labels):
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
        key.replace("__", "/").replace("_", "-"): value for key, value in labels.items()}}}
    k("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))


def pod(name, spec=None, **metadata):
    return json.dumps({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "app", "image": "app"}], **(spec or {})}})


def define():
    """Definitions of foreign resources, which accept everything."""
    for group, version, kind, plural in CRDS:
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                     "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                         "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}
        k("apply", "--server-side", "-f", "-", stdin=json.dumps(definition))
    for group, version, _, plural in CRDS:
        eventually(lambda: k("get", f"{plural}.{group}", "-A", check=False).returncode == 0, plural)


def setUpModule():
    for name in {namespace_of(path) for path in VALUES} | {"istio-system", "mesh"}:
        namespace(name)
    run_version = json.loads(k("version", "-o", "json").stdout)["serverVersion"]["gitVersion"]
    print("API server", run_version)


class ObjectsOfOthers(unittest.TestCase):
    def test_1_are_missed_by_name_where_there_are_no_definitions(self):
        result = k("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=render("everything"), check=False)
        self.assertIn("no matches for kind \"ServiceMonitor\"", result.stderr)

    def test_2_are_not_needed_by_default(self):
        for path in VALUES:
            if path.stem not in NEEDS_CRDS:
                with self.subTest(path.stem):
                    self.dry_run(path.stem)

    def test_3_are_taken_where_there_are_definitions(self):
        define()
        for name in sorted(NEEDS_CRDS):
            with self.subTest(name):
                self.dry_run(name)

    def dry_run(self, name):
        result = k("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=render(name))
        self.assertEqual(result.stderr.replace("\n", ""), "", "warnings of the API server")


class Pods(unittest.TestCase):
    def test_of_the_deployment_are_fit_for_the_restricted_level(self):
        namespace("restricted", pod_security_kubernetes_io__enforce="restricted")
        k("label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted",
          "pod-security.kubernetes.io/warn=restricted")
        for name in ("default", "files-mode", "everything"):
            deployment = next(d for d in objects(render(name, namespace="restricted")) if d["kind"] == "Deployment")
            with self.subTest(name):
                result = k("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=json.dumps(deployment))
                self.assertEqual(result.stderr, "")
            tests = [d for d in objects(render(name, namespace="restricted", tests=True)) if d["kind"] == "Pod"]
            self.assertEqual(len(tests), 1)
            result = k("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(tests[0]))
            self.assertEqual(result.stderr, "")
        deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"].pop("capabilities")
        result = k("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=json.dumps(deployment))
        self.assertIn("unrestricted capabilities", result.stderr)


class AnInstallation(unittest.TestCase):
    """helm on a real API server, with no injector behind the webhook."""

    def setUp(self):
        self.release = "outrigger"
        self.helm("uninstall", self.release, "--ignore-not-found")

    tearDown = setUp

    def helm(self, verb, *arguments, **options):
        image = IMAGE if verb in ("install", "upgrade") else []
        return run(helm(), verb, *arguments, *image, "--namespace", NAMESPACE, **options)

    def configuration(self, name):
        result = k("get", "mutatingwebhookconfiguration", name, "-o", "json", "--ignore-not-found", "--show-managed-fields")
        return json.loads(result.stdout) if result.stdout else None

    def fill_ca_bundle(self, name, bundle):
        """As the server does it when it is ready: server-side apply of that one field, and of the rules."""
        webhooks = [{"name": webhook["name"], "clientConfig": {"caBundle": bundle}, "rules": RULES}
                    for webhook in self.configuration(name)["webhooks"]]
        manifest = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                    "metadata": {"name": name}, "webhooks": webhooks}
        k("apply", "--server-side", "--validate=false", "--field-manager=outrigger", "-f", "-", stdin=json.dumps(manifest))

    def bundles(self, name):
        return [webhook["clientConfig"].get("caBundle") for webhook in self.configuration(name)["webhooks"]]

    def test_keeps_the_ca_bundle_through_upgrades_and_switches(self):
        """T-07, O-03: helm does not know caBundle, and an entry that is no longer wanted can be taken away."""
        bundle = certificate()
        everywhere = ("--set", "sidecarInjectorWebhook.enableNamespacesByDefault=true")
        self.helm("install", self.release, CHART, *everywhere)
        for name in ("outrigger-sidecar-injector", "outrigger-auto-injector"):
            self.fill_ca_bundle(name, bundle)
        self.helm("upgrade", self.release, CHART, *everywhere, "--set", "webhook.timeoutSeconds=5")
        self.assertEqual(self.bundles("outrigger-sidecar-injector"), [bundle] * 4)
        self.assertEqual(self.configuration("outrigger-sidecar-injector")["webhooks"][0]["timeoutSeconds"], 5)
        self.helm("upgrade", self.release, CHART, "--set", "revisionTags={next}")
        self.assertEqual(self.bundles("outrigger-sidecar-injector"), [bundle] * 4)
        self.assertIsNone(self.configuration("outrigger-auto-injector"))
        self.assertIsNotNone(self.configuration("outrigger-revision-tag-next"))
        self.helm("upgrade", self.release, CHART, "--reset-values")
        self.assertIsNone(self.configuration("outrigger-revision-tag-next"))

    def test_stops_no_pod_before_a_replica_has_served(self):
        """An image that cannot be pulled: there is never a replica, and pods of injected namespaces are created."""
        namespace("shop", istio_injection="enabled")
        self.helm("install", self.release, CHART, "--set", "sidecarInjectorWebhook.enableNamespacesByDefault=true",
                  "--set", "revisionTags={next}")
        namespace("by-tag")
        k("label", "--overwrite", "namespace", "by-tag", "istio.io/rev=next")
        names = ("outrigger-sidecar-injector", "outrigger-auto-injector", "outrigger-revision-tag-next")
        for name in names:
            for webhook in self.configuration(name)["webhooks"]:
                self.assertEqual((webhook["failurePolicy"], webhook.get("rules")), ("Fail", None))
        end = time.monotonic() + 5
        while time.monotonic() < end:
            for where in ("shop", "by-tag", "default"):
                k("create", "--dry-run=server", "-n", where, "-f", "-", stdin=pod("any"))
        # Helm changes what it renders and leaves the rest alone: entries that are active stay so.
        for name in names:
            self.fill_ca_bundle(name, certificate())
        for where in ("shop", "by-tag", "default"):
            self.refused_eventually(where, pod("any"))
        self.helm("upgrade", self.release, CHART, "--reuse-values", "--set", "webhook.timeoutSeconds=7")
        for name in names:
            for webhook in self.configuration(name)["webhooks"]:
                self.assertEqual((webhook["timeoutSeconds"], webhook["rules"]), (7, RULES))
        # And with nobody to answer, the policy can be changed all the same.
        self.helm("upgrade", self.release, CHART, "--reuse-values", "--set", "webhook.failurePolicy=Ignore")
        def created():
            return all(k("create", "--dry-run=server", "-n", where, "-f", "-", stdin=pod("any"), check=False).returncode == 0
                       for where in ("shop", "by-tag", "default"))
        eventually(created, "pods are created without a proxy")

    def test_shows_no_drift_after_the_ca_bundle_is_filled(self):
        """What GitOps tools ask: would an apply of the same objects change anything?"""
        text = render("default", namespace=NAMESPACE)
        k("apply", "--server-side", "--field-manager=gitops", "-f", "-", stdin=text)
        try:
            self.fill_ca_bundle("outrigger-sidecar-injector", certificate())
            for options in (("--server-side", "--field-manager=gitops"), ()):
                with self.subTest(options):
                    difference = k("diff", *options, "-f", "-", stdin=text, check=False)
                    self.assertEqual(meaningful(difference.stdout), [], difference.stdout)
        finally:
            k("delete", "--ignore-not-found", "-f", "-", stdin=text)

    def test_removes_the_webhooks_before_the_server(self):
        """L-09: helm 4 does, helm 3 does not; docs/install.md says what to do with that one."""
        if run(helm(), "version", "--short").stdout.startswith("v3"):
            self.skipTest("helm 3")
        self.helm("install", self.release, CHART)
        result = self.helm("uninstall", self.release, "--debug")
        kinds = " ".join(line for line in result.stderr.splitlines() if "delete" in line.lower())
        self.assertIn("MutatingWebhookConfiguration", kinds, result.stderr)
        self.assertLess(kinds.index("MutatingWebhookConfiguration"), kinds.index("Service"), kinds)
        self.assertLess(kinds.index("MutatingWebhookConfiguration"), kinds.index("Deployment"), kinds)

    def test_lets_its_own_pods_be_created_without_a_replica(self):
        """GP-19, L-06"""
        self.helm("install", self.release, CHART, "--set", "sidecarInjectorWebhook.enableNamespacesByDefault=true")
        self.fill_ca_bundle("outrigger-auto-injector", certificate())
        template = json.loads(k("get", "deployment", "outrigger", "-n", NAMESPACE, "-o", "json").stdout)["spec"]["template"]
        namespace("elsewhere")
        # The webhook is in force when a pod of another namespace is refused, because nobody answers.
        self.refused_eventually("elsewhere", pod("any"))
        for where in (NAMESPACE, "kube-system"):
            k("create", "--dry-run=server", "-n", where, "-f", "-", stdin=pod("any"))
        metadata = {"labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"]}
        ours = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own", **metadata},
                           "spec": {**template["spec"], "serviceAccountName": "default", "priorityClassName": ""}})
        k("create", "--dry-run=server", "-n", "elsewhere", "-f", "-", stdin=ours)

    def test_does_not_send_pods_that_would_be_skipped(self):
        """GP-13: conditions compile, and do what they say."""
        self.helm("install", self.release, CHART)
        self.fill_ca_bundle("outrigger-sidecar-injector", certificate())
        namespace("shop", istio_injection="enabled")
        self.refused_eventually("shop", pod("any"))
        create = ("create", "--dry-run=server", "-n", "shop", "-f", "-")
        k(*create, stdin=pod("host", {"hostNetwork": True}))
        k(*create, stdin=pod("opted-out", labels={"sidecar.istio.io/inject": "false"}))
        # Mirror pods are a kubelet's; the annotation alone is anybody's.
        k("create", "clusterrolebinding", "nodes", "--clusterrole=cluster-admin", "--group=system:nodes")
        mirror = pod("mirror", {"nodeName": "a", "automountServiceAccountToken": False}, annotations={"kubernetes.io/config.mirror": "x"})
        k(*create, "--as=system:node:a", "--as-group=system:nodes", "--as-group=system:authenticated", stdin=mirror)
        self.refused_eventually("shop", mirror)
        for name in ("kube-public", "default"):
            k("create", "--dry-run=server", "-n", name, "-f", "-", stdin=pod("any"))

    def refused_eventually(self, where, manifest):
        def refused():
            result = k("create", "--dry-run=server", "-n", where, "-f", "-", stdin=manifest, check=False)
            return "failed calling webhook" in result.stderr
        eventually(refused, "the webhook is in force")


class TheSameChartTwice(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        define()

    def test_can_be_applied_by_another_one_too(self):
        """An atomic field that the API server fills in is a conflict, unless the chart sets it too."""
        for path in VALUES:
            where = namespace_of(path)
            # At every installation but the first the policy is another one.
            arguments = [*values_of(path), "--set", "webhook.bootstrapFailurePolicy="]
            with self.subTest(path.stem):
                run(helm(), "install", "outrigger", CHART, "--namespace", where, *arguments)
                try:
                    text = run(helm(), "template", "outrigger", CHART, "--skip-tests", "--namespace", where, *arguments).stdout
                    result = k("apply", "--server-side", "-f", "-", stdin=text, check=False)
                    self.assertEqual(result.stderr, "")
                    # And helm again after that.
                    run(helm(), "upgrade", "outrigger", CHART, "--namespace", where, *arguments)
                finally:
                    run(helm(), "uninstall", "outrigger", "--namespace", where, "--ignore-not-found")


class ThePages(unittest.TestCase):
    """Commands of the documentation, followed literally. There are no nodes, so nothing is built, pulled or rolled out."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        (pathlib.Path(self.folder.name) / "charts").symlink_to(ROOT / "charts")
        self.undo()

    def tearDown(self):
        self.undo()
        self.folder.cleanup()

    def undo(self):
        for release in ("outrigger", "outrigger-canary"):
            run(helm(), "uninstall", release, "--namespace", NAMESPACE, "--ignore-not-found")
        k("delete", "namespace", "shop", "--ignore-not-found", "--wait=false")
        # No controller ends a namespace here.
        k("patch", "namespace", "shop", "--type=merge", "-p", '{"spec": {"finalizers": null}}', check=False)
        k("replace", "--raw", "/api/v1/namespaces/shop/finalize", "-f", "-", check=False, stdin=json.dumps(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"finalizers": []}}))

    def follow(self, page, heading, block=0):
        """Runs a block of shell commands under a heading."""
        text = (ROOT / page).read_text().partition(f"\n{heading}\n")[2]
        commands = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[block].replace("\\\n", " ")
        followed = []
        for line in commands.splitlines():
            if re.match(r"docker |kind |just |kubectl .*rollout |#|$", line):
                continue
            result = subprocess.run(["bash", "-ec", line], cwd=self.folder.name, capture_output=True, text=True,
                                    env={**os.environ, "PATH": f"{tools() / 'helm'}:{tools() / 'kubernetes'}:{os.environ['PATH']}"})
            self.assertEqual(result.returncode, 0, f"{line}: {result.stderr}")
            followed.append(line)
        return followed

    def bundle(self, name):
        text = k("get", "configmap", name, "-n", NAMESPACE, "-o", "jsonpath={.data.bundle}").stdout
        return yaml.safe_load(text)

    def test_the_first_one_leaves_a_namespace_in_which_pods_are_created(self):
        followed = self.follow("README.md", "## Run it in a cluster")
        self.assertEqual(len(followed), 4, followed)
        labels = json.loads(k("get", "namespace", "shop", "-o", "json").stdout)["metadata"]["labels"]
        self.assertEqual(labels["istio-injection"], "enabled")
        for _ in range(20):
            k("create", "--dry-run=server", "-n", "shop", "-f", "-", stdin=pod("any"))
            time.sleep(0.1)

    def test_of_a_canary_keep_the_values_of_the_first_release(self):
        values = ["--set", "image.repository=registry.example.com/outrigger", "--set", "global.hub=registry.example.com/istio",
                  "--set", "revisionTags={prod}", "--set", "global.proxy.logLevel=debug"]
        namespace("shop", istio_injection="enabled")
        for given in ([], values):
            with self.subTest(given):
                run(helm(), "upgrade", "--install", "outrigger", CHART, "--namespace", NAMESPACE, *(given or IMAGE))
                self.follow("docs/install.md", "## Revisions and tags")
                first, canary = self.bundle("outrigger"), self.bundle("outrigger-canary")
                self.assertEqual(canary["revision"], "canary")
                self.assertEqual(canary["values"].get("global"), first.get("values", {}).get("global"))
                self.assertNotIn("revisionTags", canary["values"])
                images = k("get", "deployment", "-n", NAMESPACE, "-o",
                           "jsonpath={.items[*].spec.template.spec.containers[0].image}").stdout.split()
                self.assertEqual(len(set(images)), 1, images)
                run(helm(), "uninstall", "outrigger-canary", "--namespace", NAMESPACE)
                k("label", "namespace", "shop", "istio.io/rev-", "istio-injection=enabled")

    def test_of_a_certificate_of_one_s_own_are_accepted(self):
        self.follow("docs/recipes.md", "## A certificate of your own")
        configuration = json.loads(k("get", "mutatingwebhookconfiguration", "outrigger-sidecar-injector", "-o", "json").stdout)
        for webhook in configuration["webhooks"]:
            self.assertIn("BEGIN CERTIFICATE", base64.b64decode(webhook["clientConfig"]["caBundle"]).decode())
            self.assertEqual((webhook["failurePolicy"], webhook["rules"]), ("Ignore", RULES))
        k("delete", "secret", "injector-certificate", "-n", NAMESPACE)

    def test_of_a_registry_and_a_template_are_accepted(self):
        run(helm(), "install", "outrigger", CHART, "--namespace", NAMESPACE, *IMAGE)
        self.follow("docs/recipes.md", "## A private registry")
        self.assertEqual(self.bundle("outrigger")["values"]["global"], {
            "hub": "registry.example.com/istio", "imagePullSecrets": ["registry"]})
        text = (ROOT / "docs/recipes.md").read_text().partition("## A template of your own")[2]
        template = re.search(r"```yaml\n(.*?)```", text, re.DOTALL).group(1)
        (pathlib.Path(self.folder.name) / "template.yaml").write_text(template)
        run(helm(), "upgrade", "outrigger", CHART, "--namespace", NAMESPACE, "--reset-then-reuse-values",
            "-f", pathlib.Path(self.folder.name) / "template.yaml")
        self.assertEqual(self.bundle("outrigger")["injector"]["defaultTemplates"], ["sidecar", "timezone"])
        k("delete", "secret", "registry", "-n", NAMESPACE)


class TheValidatingPolicy(unittest.TestCase):
    """GP-21, GP-30: pods that should have a proxy and have none are refused, whatever became of the webhook."""

    @classmethod
    def setUpClass(cls):
        text = render("default", namespace=NAMESPACE, sets=[
            "webhook.enabled=false", "validatingAdmissionPolicy.enabled=true", "global.resourceScope=cluster",
            'sidecarInjectorWebhook.neverInjectSelector=[{"matchLabels": {"app": "database"}}, {"matchExpressions": '
            '[{"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "DoesNotExist"}]}]'])
        cls.text = text
        k("apply", "--server-side", "-f", "-", stdin=text)
        namespace("guarded", istio_injection="enabled")
        namespace("by-revision", istio_io__rev="default")
        namespace("plain")
        k("label", "--overwrite", "namespace", "by-revision", "istio.io/rev=default")
        eventually(lambda: not cls.created("guarded", pod("any")), "the policy is in force")

    @classmethod
    def tearDownClass(cls):
        k("delete", "--ignore-not-found", "-f", "-", stdin=cls.text)

    @classmethod
    def created(cls, where, manifest):
        result = k("create", "--dry-run=server", "-n", where, "-f", "-", stdin=manifest, check=False)
        if result.returncode != 0 and "was not injected" not in result.stderr and "this one was not" not in result.stderr \
                and "no container istio-proxy" not in result.stderr:
            raise AssertionError(result.stderr)
        return result.returncode == 0

    PROXY = {"containers": [{"name": "app", "image": "app"}, {"name": "istio-proxy", "image": "proxy"}]}
    NATIVE = {"initContainers": [{"name": "istio-proxy", "image": "proxy", "restartPolicy": "Always"}]}
    STATUS = {"sidecar.istio.io/status": "{}"}

    def test_refuses_what_has_no_proxy(self):
        self.assertFalse(self.created("guarded", pod("a")))
        self.assertFalse(self.created("by-revision", pod("a")))
        self.assertFalse(self.created("guarded", pod("a", annotations=self.STATUS)))
        self.assertFalse(self.created("guarded", pod("a", self.PROXY)))
        self.assertFalse(self.created("plain", pod("a", labels={"sidecar.istio.io/inject": "true"})))
        self.assertFalse(self.created("guarded", pod("a", labels={"tier": "a", "x": "y"})))
        self.assertFalse(self.created("guarded", pod("a", annotations={"linkerd.io/proxy-version": "x"})))

    def test_takes_what_has_one(self):
        self.assertTrue(self.created("guarded", pod("a", self.PROXY, annotations=self.STATUS)))
        self.assertTrue(self.created("guarded", pod("a", self.NATIVE, annotations=self.STATUS)))
        templates = {**self.STATUS, "inject.istio.io/templates": "grpc-simple"}
        bootstrap = {"initContainers": [{"name": "grpc-bootstrap-init", "image": "bootstrap"}]}
        self.assertTrue(self.created("guarded", pod("a", bootstrap, annotations=templates)))

    def test_leaves_alone_what_is_not_injected(self):
        for spec, metadata in (
            ({}, {"labels": {"sidecar.istio.io/inject": "false"}}),
            ({}, {"annotations": {"sidecar.istio.io/inject": "false"}}),
            ({"hostNetwork": True}, {}),
            ({"os": {"name": "windows"}}, {}),
            ({}, {"labels": {"app": "database"}}),
            ({}, {"labels": {"tier": "b"}}),
        ):
            with self.subTest(spec=spec, **metadata):
                self.assertTrue(self.created("guarded", pod("a", spec, **metadata)))
        self.assertTrue(self.created("plain", pod("a")))


def certificate():
    """A caBundle; API servers check that it is one."""
    text = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
               "/dev/null", "-subj", "/CN=test").stdout
    return base64.b64encode(text.encode()).decode()


def meaningful(difference):
    """The lines of a diff, without generations, versions and last-applied."""
    lines = [line for line in difference.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return [line for line in lines if not any(word in line for word in ("generation:", "resourceVersion:", "last-applied"))
            and line[1:].strip() != "annotations:"]


if __name__ == "__main__":
    unittest.main()
