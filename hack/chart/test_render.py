"""Tests the chart's output for every file of hack/chart/values."""

import base64
import functools
import itertools
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import schema
import yaml
from chart import (
    CHART, NAMESPACE, ROOT, VALUES, Refused, arguments, helm, matches, namespace_of, objects, of_kind, only, render,
    rendered, values_of,
)

ALL = [path.stem for path in VALUES]
WITH_WEBHOOKS = [name for name in ALL if name != "scope-namespace"]
WITH_SERVER = [name for name in ALL if name not in ("remote", "scope-cluster")]


class EveryFileOfValues(unittest.TestCase):
    def test_is_taken_by_helm_lint(self):
        for path in VALUES:
            with self.subTest(path.stem):
                command = [helm(), "lint", "--strict", "--quiet", "--namespace", namespace_of(path),
                           *values_of(path), CHART]
                result = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_renders_the_same_twice(self):
        for name in ALL:
            with self.subTest(name):
                self.assertEqual(render(name), render(name))

    def test_gives_no_two_objects_one_name(self):
        for name in ALL:
            with self.subTest(name):
                self.assertTrue(rendered(name))

    def test_gives_every_namespaced_object_its_namespace(self):
        cluster = {"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
                   "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"}
        for name in ALL:
            for (kind, _), document in rendered(name).items():
                with self.subTest(name, kind=kind):
                    self.assertEqual(kind not in cluster, "namespace" in document["metadata"])

    def test_is_not_labelled_for_istiod(self):
        """An istiod of the revision writes its CA into every webhook configuration with the label istio.io/rev."""
        for name in ALL:
            for (kind, _), document in rendered(name).items():
                with self.subTest(name, kind=kind):
                    labels = document["metadata"]["labels"]
                    self.assertFalse([label for label in labels if label.startswith("istio.io/")])
                    self.assertIn("outrigger.dev/revision", labels)
        tags = {c["metadata"]["name"]: c["metadata"]["labels"].get("outrigger.dev/tag")
                for c in of_kind("default-tag", "MutatingWebhookConfiguration")}
        self.assertEqual(tags, {
            "outrigger-sidecar-injector-1-31-0": None, "outrigger-revision-tag-default": "default",
            "outrigger-revision-tag-next": "next"})

    def test_uses_nothing_that_differs_from_run_to_run(self):
        for path in (CHART / "templates").iterdir():
            actions = re.findall(r"{{(?!-? ?/\*)(.*?)}}", path.read_text(), re.DOTALL)
            for action in actions:
                self.assertNotRegex(action, r"\b(lookup|gen[A-Z]\w*|rand[A-Z]\w*|uuidv4|now|Capabilities)\b", path.name)


class TheWebhooks(unittest.TestCase):
    def entries(self, name):
        for configuration in of_kind(name, "MutatingWebhookConfiguration"):
            for webhook in configuration["webhooks"]:
                yield configuration, webhook

    def test_have_unique_names_within_a_configuration(self):
        """DA-11"""
        for name in WITH_WEBHOOKS:
            for configuration in of_kind(name, "MutatingWebhookConfiguration"):
                names = [webhook["name"] for webhook in configuration["webhooks"]]
                with self.subTest(name):
                    self.assertEqual(sorted(set(names)), sorted(names))

    def test_are_about_the_creation_of_pods_alone(self):
        """GP-08, GP-10, GP-11, GP-14, GP-18"""
        for name in WITH_WEBHOOKS:
            for _, webhook in self.entries(name):
                with self.subTest(name, webhook=webhook["name"]):
                    if self.is_given_its_rules_by_the_server(name):
                        self.assertNotIn("rules", webhook)
                    else:
                        self.assertEqual(webhook["rules"], RULES)
                    self.assertEqual(webhook["matchPolicy"], "Equivalent")
                    self.assertEqual(webhook["sideEffects"], "None")
                    self.assertEqual(webhook["admissionReviewVersions"], ["v1", "v1beta1"])

    def is_given_its_rules_by_the_server(self, name):
        """Without rules an entry stops no pod. Where nobody would add them, they are there from the start."""
        return name not in ("remote", "callers-mounted", "advice-cert-manager", "cert-manager", "cert-manager-issuer", "files-mode", "files-istio", "static")

    def test_have_no_rules_before_a_replica_serves_where_the_server_can_put_them_in(self):
        for name in WITH_SERVER:
            keeps = "--webhook-configurations" in arguments(name) and name != "scope-namespace"
            if of_kind(name, "MutatingWebhookConfiguration"):
                with self.subTest(name):
                    self.assertEqual(self.is_given_its_rules_by_the_server(name), keeps)

    def test_of_tags_that_move_are_the_server_s_to_keep_and_not_the_chart_s(self):
        self.assertEqual(list(self.names("node-network")), ["outrigger-sidecar-injector"])
        tags = "outrigger-revision-tag-prod,outrigger-revision-tag-stable"
        self.assertEqual(arguments("node-network")["--tag-configurations"], tags)
        configuration = only("node-network", "MutatingWebhookConfiguration")
        self.assertEqual(configuration["metadata"]["annotations"]["outrigger.dev/movable-tags"], "prod,stable")
        role = only("node-network", "ClusterRole")
        rule, = [rule for rule in role["rules"] if rule["resources"] == ["mutatingwebhookconfigurations"]]
        self.assertEqual(rule["resourceNames"], ["outrigger-sidecar-injector", *tags.split(",")])
        bindings = {b["metadata"]["name"] for b in of_kind("node-network", "ValidatingAdmissionPolicyBinding")}
        self.assertIn("outrigger-proxy-required-rev-namespace-tag-prod", bindings)

    def test_of_advice_admit_everything_and_are_absent_unless_asked_for(self):
        for name in WITH_WEBHOOKS:
            asked_for = name in ("everything", "advice-cert-manager")
            with self.subTest(name):
                self.assertEqual(len(of_kind(name, "ValidatingWebhookConfiguration")), int(asked_for))
        configuration = only("everything", "ValidatingWebhookConfiguration")
        self.assertEqual(arguments("everything")["--advice-configuration"], configuration["metadata"]["name"])
        webhook, = configuration["webhooks"]
        self.assertEqual((webhook["failurePolicy"], webhook["sideEffects"], webhook["timeoutSeconds"]), ("Ignore", "None", 3))
        self.assertEqual(webhook["clientConfig"]["service"]["path"], "/advise")
        resources = [resource for rule in webhook["rules"] for resource in rule["resources"]]
        self.assertEqual(resources, ["deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "cronjobs",
                                     "replicationcontrollers", "rollouts"])
        self.assertNotIn("pods", resources)
        role = only("everything", "ClusterRole")
        rule, = [rule for rule in role["rules"] if rule["resources"] == ["validatingwebhookconfigurations"]]
        self.assertEqual(rule["resourceNames"], [configuration["metadata"]["name"]])
        excluded = [e["values"] for e in webhook["namespaceSelector"]["matchExpressions"] if e["operator"] == "NotIn"]
        self.assertIn("kube-system", excluded[0])
        # cert-manager writes its caBundle as that of the others.
        annotations = only("advice-cert-manager", "ValidatingWebhookConfiguration")["metadata"]["annotations"]
        self.assertIn("cert-manager.io/inject-ca-from", annotations)
        self.assertNotIn("--advice-configuration", arguments("advice-cert-manager"))

    def test_never_select_the_cluster_s_namespaces_and_our_own(self):
        """GP-09, GP-19"""
        for name in WITH_WEBHOOKS:
            for _, webhook in self.entries(name):
                for namespace in ("kube-system", "kube-public", "kube-node-lease", namespace_of(name)):
                    for label in ({}, {"istio-injection": "enabled"}, {"istio.io/rev": "default"}):
                        labels = {"kubernetes.io/metadata.name": namespace, **label}
                        with self.subTest(name, webhook=webhook["name"], namespace=namespace):
                            self.assertFalse(matches(webhook["namespaceSelector"], labels))

    def test_never_select_our_own_pods_wherever_they_are(self):
        """L-06: with failurePolicy Fail and no replica, the first replica can be created."""
        for name in WITH_SERVER:
            labels = only(name, "Deployment")["spec"]["template"]["metadata"]["labels"]
            # A policy against opting out has to see every pod: only the release's own namespace is left out there.
            for other in set(WITH_WEBHOOKS) - {"guard-rails"}:
                for _, webhook in self.entries(other):
                    with self.subTest(name, other=other, webhook=webhook["name"]):
                        self.assertFalse(matches(webhook["objectSelector"], labels))

    def test_have_a_ca_bundle_only_where_nobody_else_keeps_it(self):
        for name in WITH_WEBHOOKS:
            for _, webhook in self.entries(name):
                with self.subTest(name):
                    self.assertEqual("caBundle" in webhook["clientConfig"], name in ("static", "remote"))

    def test_select_as_istio_s_do(self):
        """The table of labels, worked out independently of the selectors."""
        setups = {
            "default": dict(revisions={"default"}, default=True, everywhere=False),
            "revision": dict(revisions={"1-30-2", "prod", "stable"}, default=False, everywhere=False),
            "default-revision": dict(revisions={"canary", "default"}, default=True, everywhere=True),
            "default-tag": dict(revisions={"1-31-0", "default", "next"}, default=True, everywhere=False),
            "url": dict(revisions={"default"}, default=True, everywhere=False),
        }
        injections = (None, "enabled", "disabled", "typo")
        revisions = (None, "default", "canary", "1-30-2", "prod", "1-31-0", "next", "other")
        wishes = (None, "true", "false")
        for name, setup in setups.items():
            for injection, rev, pod_rev, wish in itertools.product(injections, revisions, revisions, wishes):
                namespace = {"kubernetes.io/metadata.name": "shop"}
                namespace |= {"istio-injection": injection} if injection else {}
                namespace |= {"istio.io/rev": rev} if rev else {}
                pod = {"sidecar.istio.io/inject": wish} if wish else {}
                pod |= {"istio.io/rev": pod_rev} if pod_rev else {}
                chosen = [
                    webhook["name"] for _, webhook in self.entries(name)
                    if matches(webhook["namespaceSelector"], namespace) and matches(webhook["objectSelector"], pod)
                ]
                with self.subTest(name, namespace=namespace, pod=pod):
                    self.assertEqual(len(chosen), int(istio_injects(injection, rev, pod_rev, wish, **setup)), chosen)

    def test_have_the_names_that_commands_look_for(self):
        self.assertEqual(self.names("default"), {"outrigger-sidecar-injector": [
            "rev.namespace.sidecar-injector.istio.io", "rev.object.sidecar-injector.istio.io",
            "namespace.sidecar-injector.istio.io", "object.sidecar-injector.istio.io"]})
        self.assertEqual(list(self.names("revision")), [
            "outrigger-revision-tag-prod", "outrigger-revision-tag-stable", "outrigger-sidecar-injector-1-30-2"])
        self.assertEqual(self.names("everywhere")["outrigger-auto-injector"], ["auto.sidecar-injector.istio.io"])
        self.assertEqual(list(self.names("files-istio")), ["outrigger-sidecar-injector-istio-system"])

    def names(self, name):
        configurations = of_kind(name, "MutatingWebhookConfiguration")
        return {c["metadata"]["name"]: [w["name"] for w in c["webhooks"]]
                for c in sorted(configurations, key=lambda c: c["metadata"]["name"])}

    def test_keep_their_entries_whatever_is_switched(self):
        """An entry cannot be removed from an object whose caBundle another client applied: only whole objects come and go."""
        before = self.names("default")
        for name in set(WITH_WEBHOOKS) - {"url"}:
            for configuration, entries in self.names(name).items():
                if configuration in before:
                    with self.subTest(name):
                        self.assertEqual(entries, before[configuration])

    def test_can_be_called_by_service_path_or_url(self):
        for _, webhook in self.entries("url"):
            self.assertEqual(webhook["clientConfig"]["service"]["path"], "/inject/cluster/west/net/network-west")
            self.assertEqual((webhook["failurePolicy"], webhook["timeoutSeconds"]), ("Ignore", 3))
            self.assertNotIn("matchConditions", webhook)
        for _, webhook in self.entries("remote"):
            self.assertEqual(webhook["clientConfig"], {
                "url": "https://injector.example.com:443/inject/cluster/east/net/network-east",
                "caBundle": base64.b64encode(PEM.encode()).decode()})

    def test_call_a_port_that_the_service_has(self):
        for name in set(WITH_SERVER) - {"scope-namespace"}:
            ports = [port["port"] for port in only(name, "Service")["spec"]["ports"]]
            for _, webhook in self.entries(name):
                with self.subTest(name):
                    self.assertIn(webhook["clientConfig"]["service"]["port"], ports)
        self.assertEqual(only("elsewhere", "Service")["spec"], {
            "type": "ExternalName", "externalName": "localhost",
            "ports": [{"name": "https-webhook", "port": 18443, "protocol": "TCP"}]})

    def test_have_the_bootstrap_policy_at_the_first_installation_only(self):
        """GP-31"""
        for upgrade, policy in ((False, "Ignore"), (True, "Fail")):
            for document in objects(render("everything", upgrade=upgrade)):
                for webhook in document.get("webhooks", []):
                    wanted = policy if document["kind"] == "MutatingWebhookConfiguration" else "Ignore"
                    self.assertEqual(webhook["failurePolicy"], wanted)

    def test_take_the_reinvocation_policy_from_istio_s_key(self):
        self.assertEqual({w["reinvocationPolicy"] for _, w in self.entries("istiod")}, {"IfNeeded"})
        self.assertEqual({w["reinvocationPolicy"] for _, w in self.entries("default")}, {"Never"})


# The certificate of static.yaml, and of remote.yaml in base64.
PEM = yaml.safe_load((CHART.parent.parent / "hack/chart/values/static.yaml").read_text())["certificates"]["static"]["caBundle"]


class TheCaBundle(unittest.TestCase):
    """It is public: everybody who may read webhook configurations reads it."""

    BODY = PEM.split("\n", 1)[1].rsplit("\n", 2)[0]
    KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAA\n-----END PRIVATE KEY-----\n"

    def rendered(self, text, where):
        """The caBundle in the webhooks for a text that is given at one of the places that take one."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", newline="") as file:
            if where == "certificates.static.caBundle":
                values = {"certificates": {"static": {"caBundle": text}}}
            else:
                values = {"istiodRemote": {"injectionCABundle": text}}
            json.dump(values, file)
            file.flush()
            name = {"certificates.static.caBundle": "static", "istiodRemote.injectionCABundle": "remote"}[where]
            text = render(name, pathlib.Path(file.name), namespace=NAMESPACE)
        found = {webhook["clientConfig"]["caBundle"] for document in objects(text)
                 if document["kind"] == "MutatingWebhookConfiguration" for webhook in document["webhooks"]}
        self.assertEqual(len(found), 1)
        return base64.b64decode(found.pop(), validate=True).decode()

    def everywhere(self, text):
        """As it is, and in base64, at each of the places."""
        encoded = base64.encodebytes(text.encode()).decode()
        for where in ("certificates.static.caBundle", "istiodRemote.injectionCABundle"):
            for given in (text, encoded):
                yield where, given

    def test_is_the_certificates_and_nothing_else(self):
        for text, wanted in (
            (PEM, PEM),
            (PEM.rstrip("\n"), PEM),
            (PEM.replace("\n", "\r\n"), PEM),
            (PEM + PEM, PEM + PEM),
            ("# the root of 2026\n" + PEM + "\nsubject=CN = tests\n\n" + PEM + "that is all\n", PEM + PEM),
        ):
            for where, given in self.everywhere(text):
                with self.subTest(where, given=given):
                    self.assertEqual(self.rendered(given, where), wanted)

    def test_is_refused_where_it_is_anything_else(self):
        for text, problem in (
            (PEM + self.KEY, "found a private key"),
            (self.KEY + PEM, "found a private key"),
            (PEM + self.KEY.replace("PRIVATE", "EC PRIVATE"), "found a private key"),
            (PEM + "  " + self.KEY.replace("\n", "\n  "), "found a private key"),
            ("  " + PEM.replace("\n", "\n  "), "that is not on its own line"),
            ("\ufeff" + PEM, "that is not on its own line"),
            (PEM.rstrip("\n") + PEM, "that is not on its own line"),
            (PEM.replace("\n", " "), "that is not on its own line"),
            (PEM.rstrip("\n") + " and more\n", "that is not on its own line"),
            (PEM.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), "found a block \\\"TRUSTED CERTIFICATE\\\""),
            (PEM + PEM.replace("CERTIFICATE", "X509 CRL"), "found a block \\\"X509 CRL\\\""),
            (PEM.replace("-----END CERTIFICATE-----\n", ""), "found a block without BEGIN or END"),
            (PEM.split("\n", 1)[1] + PEM, "found a block without BEGIN or END"),
            ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "found a block without BEGIN or END"),
            (PEM.replace("MIIB", "M*IB"), "that is not base64"),
            (PEM.replace("-----\nMIIB", "-----\nProc-Type: 4,ENCRYPTED\n\nMIIB"), "that is not base64"),
            (PEM.replace("MIIB", "MII"), "not a certificate in base64"),
            (PEM.replace("MIIB", "AIIB"), "not a certificate in base64"),
            ("garbage", "found no certificate in PEM"),
            (self.BODY, "found no certificate in PEM"),
            (" ", "found no certificate in PEM"),
        ):
            for where, given in self.everywhere(text):
                with self.subTest(where, given=given):
                    with self.assertRaises(Refused) as refused:
                        self.rendered(given, where)
                    message = " ".join(str(refused.exception).split()).replace('\\"', '"')
                    self.assertIn(where + ": found", message)
                    self.assertIn(problem.replace('\\"', '"'), message)
                    self.assertNotIn(self.BODY.splitlines()[1], message)


RULES = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"}]


def istio_injects(injection, rev, pod_rev, wish, revisions, default, everywhere):
    """What Istio documents about its labels."""
    if wish == "false":
        return False
    if injection is not None:
        return default and injection == "enabled"
    if rev is not None:
        return rev in revisions
    if pod_rev is not None:
        return pod_rev in revisions
    if wish == "true":
        return default
    return default and everywhere


class TheCallers(unittest.TestCase):
    """Who may call the webhook and who may read metrics, and from where."""

    def test_are_known_by_a_config_map_that_is_watched_or_mounted(self):
        flags = arguments("callers")
        self.assertEqual(flags["--client-auth"], "require")
        self.assertEqual(flags["--client-ca-configmap"], "kube-system/extension-apiserver-authentication:client-ca-file")
        self.assertEqual(flags["--client-allowed-names"], "outrigger-apiserver-client,spiffe://example/api")
        self.assertEqual(flags["--client-token-file"], "/etc/outrigger/callers/tokens")
        role, = [d for (kind, name), d in rendered("callers").items() if kind == "Role" and name == "outrigger-callers"]
        self.assertEqual(role["metadata"]["namespace"], "kube-system")
        self.assertEqual(role["rules"], [{
            "apiGroups": [""], "resources": ["configmaps"],
            "resourceNames": ["extension-apiserver-authentication"], "verbs": ["list", "watch"],
        }])
        binding = rendered("callers")["RoleBinding", "outrigger-callers"]
        self.assertEqual(binding["subjects"][0]["namespace"], NAMESPACE)

        flags = arguments("callers-mounted")
        self.assertEqual(flags["--client-auth"], "request")
        self.assertEqual(flags["--client-ca-file"], "/etc/outrigger/callers/ca.crt")
        self.assertEqual(flags["--client-allowed-names"], "*")
        pod = only("callers-mounted", "Deployment")["spec"]["template"]["spec"]
        volume, = [volume for volume in pod["volumes"] if volume["name"] == "callers"]
        source, = volume["projected"]["sources"]
        self.assertEqual(source["configMap"], {"name": "callers", "items": [{"key": "ca.crt", "path": "ca.crt"}]})
        self.assertFalse(of_kind("callers-mounted", "Role"), "nothing is asked of the API server")

    def test_have_a_rule_of_the_own_role_in_the_own_namespace(self):
        sets = ["clientAuth.mode=require", "clientAuth.configMap.name=callers", 'clientAuth.allowedNames=["api"]']
        roles = {d["metadata"]["name"]: d for d in objects(render("default", sets=sets)) if d["kind"] == "Role"}
        self.assertEqual(list(roles), ["outrigger"])
        named = [rule["resourceNames"] for rule in roles["outrigger"]["rules"] if rule["resources"] == ["configmaps"]]
        self.assertEqual(named, [["outrigger"], ["callers"]])

    def test_are_everybody_unless_something_else_is_said(self):
        for name in WITH_SERVER:
            if not name.startswith("callers"):
                with self.subTest(name):
                    flags = arguments(name)
                    self.assertFalse([flag for flag in flags if flag.startswith(("--client-", "--admin-auth"))])

    def test_of_metrics_are_asked_about_and_come_over_tls(self):
        self.assertEqual(arguments("callers")["--admin-auth"], "token")
        rules = rendered("callers")["ClusterRole", "outrigger"]["rules"]
        for group, resource in (
            ("authentication.k8s.io", "tokenreviews"), ("authorization.k8s.io", "subjectaccessreviews"),
        ):
            self.assertIn({"apiGroups": [group], "resources": [resource], "verbs": ["create"]}, rules)
        reader = rendered("callers")["ClusterRole", "outrigger-metrics-reader"]
        self.assertEqual(reader["rules"], [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}])
        endpoint, = only("callers", "ServiceMonitor")["spec"]["endpoints"]
        self.assertEqual(endpoint["scheme"], "https")
        self.assertEqual(endpoint["tlsConfig"]["ca"], {"secret": {"name": "outrigger-certificate", "key": "ca.crt"}})
        self.assertEqual(endpoint["authorization"]["credentials"]["name"], "prometheus-token")
        for name in WITH_SERVER:
            if name != "callers":
                text = render(name)
                with self.subTest(name):
                    self.assertNotIn("tokenreviews", text)
                    self.assertNotIn("metrics-reader", text)

    def test_on_loopback_are_probed_there(self):
        deployment, = [d for d in objects(render("default", sets=["hostNetwork=true", "server.adminListen=loopback"]))
                       if d["kind"] == "Deployment"]
        container, = deployment["spec"]["template"]["spec"]["containers"]
        self.assertIn("--admin=127.0.0.1:8080", container["args"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(container[probe]["httpGet"]["host"], "127.0.0.1")
            of_default = only("default", "Deployment")["spec"]["template"]["spec"]["containers"][0]
            self.assertNotIn("host", of_default[probe]["httpGet"])

    def test_of_metrics_are_asked_about_where_nothing_else_is_asked(self):
        deployment, = [d for d in objects(render("files-mode", sets=["server.adminAuth=token"])) if d["kind"] == "Deployment"]
        spec = deployment["spec"]["template"]["spec"]
        self.assertTrue(spec["automountServiceAccountToken"])
        self.assertIn("--admin-auth=token", spec["containers"][0]["args"])
        self.assertNotIn("--standalone", spec["containers"][0]["args"])

    def ingress(self, name="default", sets=()):
        policy, = [d for d in objects(render(name, sets=sets)) if d["kind"] == "NetworkPolicy"]
        return {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]}

    def test_come_from_addresses_of_api_servers_where_these_are_given(self):
        self.assertEqual(self.ingress("callers"), {"webhook": [
            # Only the pods' ranges that lie within are excepted: API servers refuse an exception that does not.
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.244.0.0/16"]}},
            {"ipBlock": {"cidr": "192.168.1.0/24"}},
            {"ipBlock": {"cidr": "::/0", "except": ["fd00:2::/48"]}},
            {"ipBlock": {"cidr": "fd00:1::/64"}},
        ]})
        monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
        self.assertEqual(
            self.ingress("callers-mounted"), {"webhook": [{"ipBlock": {"cidr": "10.0.0.0/28"}}], "admin": monitoring})
        # Without addresses, everybody may call.
        self.assertEqual(self.ingress("everything"), {"webhook": None, "admin": monitoring})
        self.assertEqual(self.ingress(sets=["networkPolicy.enabled=true"]), {"webhook": None, "admin": None})
        self.assertEqual(self.ingress(sets=["global.networkPolicy.enabled=true"]), {"webhook": None, "admin": None})

    def test_exceptions_lie_within_their_range(self):
        for outer, inner, within in (
            ("0.0.0.0/0", "10.244.0.0/16", True), ("10.0.0.0/8", "10.0.0.0/8", False),
            ("10.0.0.0/16", "10.0.0.0/8", False), ("10.244.0.0/16", "10.245.0.0/24", False),
            ("10.244.0.0/15", "10.245.0.0/24", True), ("128.0.0.0/1", "255.255.255.255/32", True),
            ("0.0.0.0/1", "128.0.0.1/32", False), ("::/0", "10.0.0.0/8", False), ("0.0.0.0/0", "fd00::/8", False),
        ):
            with self.subTest(outer=outer, inner=inner):
                sets = [f'networkPolicy.apiServerCIDRs=["{outer}"]', f'networkPolicy.podCIDRs=["{inner}"]']
                self.assertEqual("except" in self.ingress(sets=sets)["webhook"][0]["ipBlock"], within)

    def test_have_no_policy_where_nothing_is_known_or_none_is_wanted(self):
        for sets in ((), ["networkPolicy.enabled=false", 'networkPolicy.apiServerCIDRs=["10.0.0.0/28"]']):
            found = [d for d in objects(render("default", sets=sets)) if d["kind"] == "NetworkPolicy"]
            self.assertEqual(found, [])


class TheRoles(unittest.TestCase):
    def rules(self, name):
        """Every granted (scope, group, resource, verb, object name); None is every object."""
        granted = set()
        for kind in ("Role", "ClusterRole"):
            for role in of_kind(name, kind):
                for rule in role["rules"]:
                    if "nonResourceURLs" in rule:
                        continue
                    for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"]):
                        for who in rule.get("resourceNames", [None]):
                            granted.add((role["metadata"].get("namespace"), group, resource, verb, who))
        return granted

    def grants(self, scope, group, resource, verbs, names=(None,)):
        return {(scope, group, resource, verb, name) for verb in verbs.split() for name in names}

    def test_are_the_table_and_nothing_more(self):
        ours = NAMESPACE
        controller = (
            self.grants(ours, "", "secrets", "get list watch update", ["outrigger-certificate"])
            | self.grants(ours, "", "secrets", "create")
            | self.grants(ours, "coordination.k8s.io", "leases", "get update", ["outrigger-leader"])
            | self.grants(ours, "coordination.k8s.io", "leases", "create")
        )
        webhooks = self.grants(None, "admissionregistration.k8s.io", "mutatingwebhookconfigurations",
                               "get list watch patch", ["outrigger-sidecar-injector"])
        events = self.grants(ours, "events.k8s.io", "events", "create patch")
        bundle = self.grants(ours, "", "configmaps", "list watch", ["outrigger"])
        cluster = (self.grants(None, "", "nodes", "list watch")
                   | self.grants(None, "", "namespaces", "list watch")
                   | self.grants(None, "networking.istio.io", "proxyconfigs", "list watch")
                   | self.grants(None, "events.k8s.io", "events", "create patch")
                   | self.grants(None, "apps", "replicasets", "get")
                   | self.grants(None, "batch", "jobs", "get"))
        istio = (self.grants("istio-system", "", "configmaps", "list watch", ["istio-sidecar-injector", "istio"])
                 | self.grants("istio-system", "events.k8s.io", "events", "create patch"))
        expected = {
            "default": controller | webhooks | events | bundle | cluster,
            "istio-configmaps": controller | webhooks | events | istio | cluster,
            "istiod-flat": controller | webhooks | events | bundle | cluster,
            "cert-manager": events | bundle | cluster,
            "static": events | bundle | cluster,
            "files-mode": set(),
            "files-istio": set(),
            "files-controller": controller | webhooks | events,
            "remote": set(),
            "scope-namespace": controller | events | bundle,
            "scope-cluster": webhooks | cluster,
        }
        for name, rules in expected.items():
            with self.subTest(name):
                self.assertEqual(self.rules(name), rules)

    def test_name_the_objects_the_flags_name(self):
        for name in WITH_SERVER:
            flags, rules, scope = arguments(name), self.rules(name), namespace_of(name)
            of_a_name = {"configmaps": "list"}
            named = {(group, resource): {who for _, g, r, verb, who in rules
                                         if (g, r, verb) == (group, resource, of_a_name.get(r, "get"))}
                     for _, group, resource, _, _ in rules}
            with self.subTest(name):
                # NAMESPACE/NAME:KEY
                callers, _, config_map = flags.get("--client-ca-configmap", "").partition("/")
                of_callers = {config_map.partition(":")[0]} - {""}
                if "--bundle-config-map" in flags:
                    self.assertEqual(named["", "configmaps"], {flags["--bundle-config-map"]} | of_callers)
                if "--injector-config-map" in flags and "--config-dir" not in flags:
                    self.assertEqual(named["", "configmaps"], {flags["--injector-config-map"], flags["--mesh-config-map"]})
                    self.assertTrue(any(r[0] == flags["--istio-namespace"] for r in rules))
                if flags["--certificate"] == "controller":
                    self.assertEqual(named["", "secrets"], {flags["--certificate-secret"]})
                    self.assertEqual(named["coordination.k8s.io", "leases"], {flags["--lease"]})
                    self.assertEqual(flags["--service"], only(name, "Service")["metadata"]["name"])
                    if name != "scope-namespace":
                        configured = set(flags["--webhook-configurations"].split(","))
                        tags = {tag for tag in flags.get("--tag-configurations", "").split(",") if tag}
                        self.assertEqual(named["admissionregistration.k8s.io", "mutatingwebhookconfigurations"], configured | tags)
                        made = {c["metadata"]["name"] for c in of_kind(name, "MutatingWebhookConfiguration")}
                        self.assertEqual(configured, made)
                self.assertTrue(all(r[0] in (None, scope, callers, flags.get("--istio-namespace")) for r in rules))

    def test_are_absent_where_there_is_no_token(self):
        for name in WITH_SERVER:
            pod = only(name, "Deployment")["spec"]["template"]["spec"]
            with self.subTest(name):
                token = pod["automountServiceAccountToken"]
                self.assertEqual(token, bool(of_kind(name, "Role")))
                self.assertEqual(token, not (
                    "--config-dir" in arguments(name) and arguments(name)["--certificate"] == "files"))
                self.assertEqual("--standalone" in arguments(name), not token)


class TheDeployment(unittest.TestCase):
    def test_is_locked_down(self):
        for name in WITH_SERVER:
            spec = only(name, "Deployment")["spec"]["template"]["spec"]
            container, = spec["containers"]
            with self.subTest(name):
                self.assertEqual(spec["securityContext"], {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}})
                self.assertEqual(container["securityContext"], {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]}})
                self.assertEqual({"hostNetwork", "hostPID", "hostIPC"} & set(spec),
                                 {"hostNetwork"} if name == "node-network" else set())
                self.assertTrue({"configMap", "secret", "projected"} >= {
                    kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"})
                self.assertNotIn("cpu", container["resources"]["limits"])

    def test_is_for_linux_nodes_unless_another_system_is_asked_for(self):
        def selector(*sets):
            deployment, = [d for d in objects(render("default", sets=sets)) if d["kind"] == "Deployment"]
            return deployment["spec"]["template"]["spec"]["nodeSelector"]
        self.assertEqual(selector(), {"kubernetes.io/os": "linux"})
        self.assertEqual(selector("nodeSelector.pool=a"), {"kubernetes.io/os": "linux", "pool": "a"})
        self.assertEqual(selector(r"nodeSelector.kubernetes\.io/os=other"), {"kubernetes.io/os": "other"})

    def test_can_be_on_the_network_of_the_node_and_on_other_ports(self):
        deployment, service = only("node-network", "Deployment"), only("node-network", "Service")
        spec = deployment["spec"]["template"]["spec"]
        self.assertEqual((spec["hostNetwork"], spec["dnsPolicy"]), (True, "ClusterFirstWithHostNet"))
        flags = arguments("node-network")
        self.assertEqual((flags["--listen"], flags["--admin"]), ("[::]:18443", "[::]:18080"))
        ports = {port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]}
        self.assertEqual(ports, {"webhook": 18443, "admin": 18080})
        self.assertEqual(service["spec"]["type"], "NodePort")
        self.assertEqual([(p["name"], p["port"], p["targetPort"], p.get("nodePort")) for p in service["spec"]["ports"]], [
            ("https-webhook", 8443, 18443, 30443), ("http-admin", 18080, "admin", None)])
        # There may be no other node with the ports free.
        self.assertEqual(deployment["spec"]["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 1})
        for name in set(WITH_SERVER) - {"node-network"}:
            spec = only(name, "Deployment")["spec"]
            self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 0})
            self.assertNotIn("dnsPolicy", spec["template"]["spec"])

    def test_ends_before_it_is_ended(self):
        """L-01: drain delay and grace fit into the pod's termination grace period."""
        for name in WITH_SERVER:
            flags = arguments(name)
            seconds = sum(int(flags[flag].removesuffix("s")) for flag in ("--drain-delay", "--shutdown-grace"))
            grace = only(name, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            self.assertLess(seconds, grace)

    def test_selects_its_own_pods_and_so_do_service_and_budget(self):
        for name in WITH_SERVER:
            deployment = only(name, "Deployment")
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            with self.subTest(name):
                self.assertTrue(matches(deployment["spec"]["selector"], labels))
                if name != "elsewhere":
                    self.assertTrue(matches({"matchLabels": only(name, "Service")["spec"]["selector"]}, labels))
                self.assertTrue(matches(only(name, "PodDisruptionBudget")["spec"]["selector"], labels))

    def test_is_not_restarted_by_a_change_of_the_configuration(self):
        before = only("default", "Deployment")
        after = [d for d in objects(render("default", sets=["global.hub=registry.example.com/x"])) if d["kind"] == "Deployment"]
        self.assertEqual([before], after)

    def test_leaves_the_number_of_replicas_to_an_autoscaler(self):
        self.assertEqual(only("default", "Deployment")["spec"]["replicas"], 2)
        self.assertNotIn("replicas", only("everything", "Deployment")["spec"])

    def test_has_an_image_of_its_own_whatever_istiod_s_is(self):
        def image(name):
            return only(name, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
        self.assertEqual(image("istiod-flat"), "outrigger:0.1.0")
        self.assertTrue(image("everything").startswith("registry.example.com/outrigger@sha256:"))


class TheTest(unittest.TestCase):
    """What `helm test` runs."""

    def pods(self, name):
        return [d for d in objects(render(name, tests=True)) if d["kind"] == "Pod"]

    def test_is_there_where_the_configuration_is_the_chart_s(self):
        for name in ALL:
            config_maps = [c for c in of_kind(name, "ConfigMap") if "bundle" in c["data"]]
            with self.subTest(name):
                self.assertEqual(len(self.pods(name)), len(config_maps) if name != "elsewhere" else 0)

    def test_asks_the_server_about_the_configuration_and_is_no_replica(self):
        pod, = self.pods("revision")
        self.assertEqual(pod["metadata"]["annotations"]["helm.sh/hook"], "test")
        self.assertFalse(matches({"matchLabels": only("revision", "Service")["spec"]["selector"]}, pod["metadata"]["labels"]))
        container, = pod["spec"]["containers"]
        mount, = container["volumeMounts"]
        self.assertEqual(container["args"], ["bundle", "print", f"--bundle={mount['mountPath']}/bundle"])
        self.assertEqual(pod["spec"]["volumes"][0]["configMap"]["name"], only("revision", "ConfigMap")["metadata"]["name"])
        self.assertIn("bundle", only("revision", "ConfigMap")["data"])
        self.assertFalse(pod["spec"]["automountServiceAccountToken"])

    def test_says_no_to_what_the_server_refuses(self):
        binary = outrigger()
        if not binary:
            self.skipTest("there is no outrigger to ask; OUTRIGGER names one")
        values = ["--set", "configuration.bundle.injector.policy=enable", "--set", "image.repository=x"]
        text = subprocess.run([helm(), "template", "o", CHART, *values], capture_output=True, text=True, check=True).stdout
        bundle, = [d["data"]["bundle"] for d in objects(text) if d["kind"] == "ConfigMap"]
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "bundle"
            file.write_text(bundle)
            result = subprocess.run([binary, "bundle", "print", f"--bundle={file}"], capture_output=True, text=True)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn('injector.policy: found "enable"', result.stderr)


class TheNotes(unittest.TestCase):
    def notes(self, name, *arguments):
        command = [helm(), "install", "outrigger", str(CHART), "--namespace", NAMESPACE, "--dry-run=client",
                   *values_of(name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("NOTES:")[2]

    def test_say_when_the_webhooks_are_active(self):
        self.assertIn("no pod waits for it", self.notes("default"))
        self.assertIn("active at once", self.notes("static"))
        self.assertNotIn("active at once", self.notes("static", "--set", "webhook.failurePolicy=Ignore"))

    def test_say_what_a_server_elsewhere_that_is_not_there_does_to_pods(self):
        """Before it serves the entries have no rules, unless somebody else would have to add them."""
        def notes(*arguments):
            return " ".join(self.notes("elsewhere", *arguments).split())
        self.assertIn("no pod waits for it: its webhook entries get their rules then. If it goes away after that, pods in "
                      "injected namespaces are refused: hack/chart/serve outrigger", notes())
        self.assertIn("are not injected: hack", notes("--set", "webhook.failurePolicy=Ignore"))
        self.assertIn("With no server there, pods in injected namespaces are refused: hack",
                      notes("--set", "certificates.mode=files", "--set", "certificates.files.secretName=x"))


class TheBundle(unittest.TestCase):
    def bundle(self, name):
        return yaml.safe_load(only(name, "ConfigMap")["data"]["bundle"])

    def test_says_what_the_values_say_and_no_more(self):
        self.assertEqual(self.bundle("default"), {
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "Bundle", "revision": "default", "compat": "outrigger",
            "nativeSidecars": "auto"})

    def test_takes_the_injector_s_part_of_an_istiod_values_file(self):
        bundle = self.bundle("istiod")
        self.assertEqual(bundle["injector"]["defaultTemplates"], ["sidecar", "team"])
        self.assertEqual(len(bundle["injector"]["neverInjectSelector"]), 2)
        self.assertEqual(bundle["injector"]["policy"], "enabled")
        self.assertEqual(bundle["values"]["global"]["proxy"]["resources"]["limits"], {"cpu": None, "memory": "512Mi"})
        self.assertEqual(set(bundle["values"]["pilot"]), {"cni", "env"})
        self.assertEqual(bundle["mesh"]["defaultConfig"], {
            "holdApplicationUntilProxyStarts": True, "image": {"imageType": "distroless"}, "meshId": "mesh-west",
            "proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"},
            "tracing": {"zipkin": {"address": "zipkin.observability:9411"}}})
        self.assertEqual(bundle["nativeSidecars"], "enabled")
        self.assertEqual(bundle["env"]["TEAM"], "payments")

    def test_takes_profiles_and_platforms(self):
        bundle = self.bundle("istiod-flat")
        self.assertEqual(bundle["platform"], "openshift")
        self.assertEqual(bundle["values"]["pilot"]["cni"], {"enabled": True, "provider": "multus"})
        self.assertEqual(bundle["values"]["global"]["variant"], "distroless")
        self.assertEqual(bundle["mesh"]["defaultConfig"]["proxyMetadata"], {"ISTIO_META_ENABLE_HBONE": "true"})
        self.assertEqual((bundle["nativeSidecars"], bundle["compliancePolicy"]), ("disabled", "fips-140-3"))

    def test_puts_copied_defaults_beneath_what_is_given(self):
        values = self.bundle("istiod-defaults")["values"]["global"]
        self.assertEqual((values["hub"], values["proxy"]["logLevel"]), ("registry.example.com/mirror", "error"))

    def test_knows_its_revision_and_tags(self):
        bundle = self.bundle("revision")
        self.assertEqual((bundle["revision"], bundle["values"]["revision"]), ("1-30-2", "1-30-2"))
        self.assertEqual(bundle["values"]["revisionTags"], ["prod", "stable"])
        self.assertEqual(bundle["mesh"]["defaultConfig"]["discoveryAddress"], "istiod-1-30-2.istio-system.svc:15012")

    def test_leads_to_the_istiod_of_another_cluster(self):
        """As in Istio: the Service istiod without a revision has the address, with an injector here istiod-remote."""
        self.assertEqual(self.bundle("remote-pilot")["mesh"]["defaultConfig"]["discoveryAddress"],
                         "istiod.istio-system.svc:15012")
        both = ["istiodRemote.enabled=true", "istiodRemote.enabledLocalInjectorIstiod=true"]
        for sets, name in (([both[1]], "istiod"), (both, "istiod-remote"), (["revision=canary"], "istiod")):
            with self.subTest(sets):
                bundle, = [d["data"]["bundle"] for d in objects(render("remote-pilot", sets=sets)) if d["kind"] == "ConfigMap"]
                self.assertEqual(yaml.safe_load(bundle)["mesh"]["defaultConfig"]["discoveryAddress"],
                                 f"{name}.istio-system.svc:15012")

    def test_is_taken_by_the_server(self):
        binary = outrigger()
        if not binary:
            self.skipTest("there is no outrigger to ask; OUTRIGGER names one")
        for name in ALL:
            for config_map in of_kind(name, "ConfigMap"):
                if "bundle" not in config_map["data"]:
                    continue
                with self.subTest(name), tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                    file.write(config_map["data"]["bundle"])
                    file.flush()
                    command = [binary, "bundle", "print", "--bundle", file.name]
                    result = subprocess.run(command, capture_output=True, text=True)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    # Where it came from, and no warning.
                    self.assertEqual(result.stderr, f"configuration: bundle {file.name}\n")


def outrigger():
    """OUTRIGGER, or the last build."""
    given = os.environ.get("OUTRIGGER")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    found = [given] if given else [str(p) for p in (target / "release/outrigger", target / "debug/outrigger") if p.exists()]
    return found[0] if found else None


class Refusals(unittest.TestCase):
    CASES = [
        ("certificate.mode=files", "certificate"),
        ("certificates.mod=files", "mod"),
        ("certificates.mode=none", "certificates"),
        ("webhook.timeoutSeconds=31", "timeoutSeconds"),
        ("webhook.timeoutSeconds=0", "timeoutSeconds"),
        ("webhook.failurePolicy=fail", "failurePolicy"),
        ("webhook.nameSuffix=injector.static.k8s.io", "nameSuffix"),
        ("webhook.nameSuffix=static.k8s.io", "nameSuffix"),
        ("webhook.nameSuffix=injector", "nameSuffix"),
        ('webhook.matchConditions.extra=[{"name": "x.static.k8s.io", "expression": "true"}]', "extra"),
        ("replicas=3", "replicas"),
        ("image.repo=x", "image"),
        ("image.digest=latest", "image"),
        ("configuration.from=istiod", "from"),
        ("configuration.bundle.injectr.policy=x", "injectr"),
        ("server.drainDelay=5", "drainDelay"),
        ("sidecarInjectorWebhook.enableNamespaceByDefault=true", "enableNamespaceByDefault"),
        ("sidecarInjectorWebhook.reinvocationPolicy=Always", "reinvocationPolicy"),
        ("global.proxy.autoInject=on", "autoInject"),
        ("istiodRemote.injectionURL=http://injector/inject", "injectionURL"),
        ("istiodRemote.injectionURL=https://user@injector/inject", "injectionURL"),
        ("istiodRemote.injectionURL=https://injector/inject?x=y", "injectionURL"),
        ("revision=Canary", "revision"),
        ("networkPolicy.apiServerPorts=[]", "apiServerPorts"),
        ("networkPolicy.enabled=yes", "enabled"),
        ('networkPolicy.apiServerCIDRs=["10.0.0.1"]', "apiServerCIDRs"),
        ("clientAuth.mode=on", "clientAuth"),
        ("server.adminAuth=basic", "adminAuth"),
        # Templates say these.
        ("clientAuth.mode=require", "clientAuth: found mode require"),
        ("clientAuth.configMap.name=callers", "clientAuth.mode: found none"),
        ("server.adminListen=loopback", "server.adminListen: found loopback without hostNetwork"),
        ("profile=ambiente", "profile: found"),
        ("istiodRemote.enabled=true", "istiodRemote.injectionURL: found nothing"),
        ("certificates.mode=files", "certificates.files.secretName: found nothing"),
        ("certificates.mode=static", "certificates.static"),
        ("global.platform=gke", "global.platform: found"),
        ("platform=openshfit", 'expected openshift, or nothing'),
        ('webhook.movableTags=["default"]', "webhook.movableTags: found"),
        ("server.adminPort=8443", "server: found 8443"),
        ("service.port=8080", "service.port: found 8080"),
        ("server.webhookPort=0", "webhookPort"),
        ("service.type=Headless", "type"),
        ("dnsPolicy=None", "dnsPolicy"),
        ("monitoring.prometheusRule.runbook=docs/operations.md", "runbook"),
        ('revisionTags=["default"]', "revisionTags"),
        ("image.repository=registry.example.com/outrigger:0.1.0", "which has a tag"),
        ("image.repository=registry.example.com:5000/outrigger:0.1.0", "which has a tag"),
        ("image.repository=registry.example.com/outrigger:", "which has a tag"),
        ("image.repository=outrigger@sha256:" + "0" * 64, "which has a tag or a digest"),
        ("image.repository=https://registry.example.com/outrigger", "which has a scheme"),
        ("image.repository= registry.example.com/outrigger", "which contains a blank"),
        ("image.repository= ", "image.repository: found nothing"),
        ("image.tag=a b", "image.tag: found"),
        ("terminationGracePeriodSeconds=25", "terminationGracePeriodSeconds: found 25"),
        ("terminationGracePeriodSeconds=3", "terminationGracePeriodSeconds: found 3"),
        ("server.drainDelay=1m30s", "terminationGracePeriodSeconds: found 30"),
        ("server.shutdownGrace=25000ms", "terminationGracePeriodSeconds: found 30"),
        ("server.drainDelay=0.01h", "terminationGracePeriodSeconds: found 30"),
        # The name of a Service has at most 63 characters.
        ("revision=" + "r" * 54, "revision"),
    ]

    def test_name_what_is_wrong(self):
        render("default")
        for setting, text in self.CASES:
            with self.subTest(setting):
                with self.assertRaises(Refused) as refused:
                    render("default", sets=[setting])
                self.assertIn(text, str(refused.exception))

    def test_of_callers_name_what_is_missing(self):
        mode, ca = "clientAuth.mode=require", "clientAuth.configMap.name=callers"
        for sets, text in (
            ([mode, ca], "clientAuth.allowedNames: found nothing"),
            ([mode, ca, "clientAuth.secret.name=x"], "found configMap.name and secret.name"),
            ([mode, "clientAuth.tokenSecret.name=x", 'clientAuth.allowedNames=["x"]'], "found names and no CA"),
            ([mode, ca, 'clientAuth.allowedNames=["*", "x"]'], "beside other names"),
            ([mode, "clientAuth.configMap.name=extension-apiserver-authentication", 'clientAuth.allowedNames=["*"]'],
             "with the CA of the cluster's users"),
            (["server.adminAuth=token", "monitoring.podMonitor.enabled=true"], "monitoring.authorization: found nothing"),
            (["hostNetwork=true", "server.adminListen=loopback", "monitoring.serviceMonitor.enabled=true"],
             "server.adminListen: found loopback with a ServiceMonitor"),
        ):
            with self.subTest(text), self.assertRaises(Refused) as refused:
                render("default", sets=sets)
            self.assertIn(text, str(refused.exception))
        with self.assertRaises(Refused) as refused:
            render("callers-mounted", sets=["clientAuth.configMap.namespace=other"])
        self.assertIn("clientAuth.configMap.namespace: found", str(refused.exception))

    def test_of_an_installation_without_an_image(self):
        """It would consist of pods that cannot start."""
        for setting in ("image.tag=1.2.3", "autoscaling.enabled=true", "image.repository="):
            with self.subTest(setting), self.assertRaises(Refused) as refused:
                render("default", sets=[setting], image=False)
            for text in ("image.repository: found nothing", "docker build -f deploy/Dockerfile", "docker push"):
                self.assertIn(text, str(refused.exception))
        with self.assertRaises(Refused):
            render("istiod-flat", image=False)
        # Without replicas there is nothing to pull, and without a server nothing to run.
        render("elsewhere", image=False)
        render("remote", image=False)
        render("scope-cluster", image=False)

    def test_do_not_hit_what_is_right(self):
        for sets, image in (
            (["image.repository=registry.example.com:5000/team/outrigger"], "registry.example.com:5000/team/outrigger:0.1.0"),
            (["image.repository=localhost/outrigger", "image.tag=1.2.3-rc.1_x"], "localhost/outrigger:1.2.3-rc.1_x"),
        ):
            deployment, = [d for d in objects(render("default", sets=sets)) if d["kind"] == "Deployment"]
            self.assertEqual(deployment["spec"]["template"]["spec"]["containers"][0]["image"], image)
        render("default", sets=["terminationGracePeriodSeconds=26"])
        render("default", sets=["server.drainDelay=1m30s", "terminationGracePeriodSeconds=111"])

    def test_name_what_is_null_and_must_not_be(self):
        """helm drops a key that is null from the defaults, and templates would report a nil pointer."""
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        required, free = [], {}
        def walk(values, schema, path, into):
            for key, value in values.items():
                inner = schema.get("properties", {}).get(key, {})
                if key in schema.get("required", []):
                    required.append((*path, key))
                    if isinstance(value, dict):
                        into[key] = {}
                        walk(value, inner, (*path, key), into[key])
                elif value in ("", None, [], {}):
                    into[key] = None
        walk(values, schema, (), free)
        self.assertGreater(len(required), 60)
        # Keys that are not required, and empty by default, can be null; image stays as it is given.
        free.pop("image", None)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(free, file)
            file.flush()
            self.assertEqual(render("default", pathlib.Path(file.name), namespace=NAMESPACE), render("default"))
        # All sections at once, and in each of them everything at once.
        for depth in sorted({len(path) for path in required}):
            paths = [path for path in required if len(path) == depth]
            with self.assertRaises(Refused) as refused:
                render("default", sets=[".".join(path) + "=null" for path in paths])
            message = str(refused.exception)
            self.assertNotIn("nil pointer", message)
            for path in paths:
                at = "".join(f"/{step}" for step in path[:-1])
                found = re.search(rf"at '{at}': missing propert(?:y|ies) (.*)", message)
                with self.subTest(path):
                    self.assertIn(f"'{path[-1]}'", found.group(1) if found else message)

    # One key of each is misspelt, the one with the mark; at every depth that is read.
    MISSPELT = [
        "!globl.hub", "global.!hubb", "global.!prox.logLevel", "global.proxy.!loglevel", "global.proxy.!resource.requests",
        "global.proxy.resources.!request", "global.proxy.startupProbe.!failureTreshold", "global.proxy.lifecycle.!prestop",
        "global.proxy.seccompProfile.!typ", "global.proxy_init.!imge", "global.!proxyInit.image",
        "global.!multicluster.clusterName", "global.multiCluster.!clustername", "global.logging.!levl", "global.sds.!tokn",
        "global.sds.token.!audience", "global.sts.!serviceport", "global.networkPolicy.!enable",
        "global.tracer.zipkin.!adress", "global.tracer.!zipkn.address", "pilot.cni.!enable", "pilot.!cnii.enabled",
        "pilot.!envs.X", "cni.!providr", "gateways.!securityContex", "gateways.seccompProfile.!typo",
        "sidecarInjectorWebhook.!rewriteAppHttpProbe", "istiodRemote.!injectionUrl",
        "meshConfig.!outboundTraficPolicy.mode", "meshConfig.defaultConfig.!holdAplicationUntilProxyStarts",
        "_internal_defaults_do_not_set.!globle.hub", "_internal_defaults_do_not_set.global.!proxi.logLevel",
        "meshConfig.defaultConfig.tracing.zipkin.!adress", "meshConfig.defaultConfig.image.!imageTyp",
        "meshConfig.defaultConfig.gatewayTopology.!numTrustdProxies", "meshConfig.default_config.proxyStatsMatcher.!inclusionPrefix",
        "meshConfig.defaultConfig.tracing.customTags.team.literal.!valu", "meshConfig.outboundTrafficPolicy.!mod",
        "meshConfig.tls_defaults.!ecdh_curve", "meshConfig.defaultConfig.privateKeyProvider.cryptomb.!polldelay",
        "global.waypoint.!resource", "global.waypoint.resources.!limit", "global.proxy.lifecycle.preStop.exec.!comand",
        "gateways.securityContext.!runAsUsr", "gateways.securityContext.seccompProfile.!typ", "pilot.!gatewayClasses.x",
        "server.!logFormt", "certificates.controller.!caLifetme", "webhook.matchConditions.!presets",
        "monitoring.serviceMonitor.!enabl", "configuration.istio.!configMap",
    ]

    def test_of_misspelt_keys_at_every_depth(self):
        with self.assertRaises(Refused) as refused:
            render("default", sets=[setting.replace("!", "") + "=x" for setting in self.MISSPELT])
        places = {}
        for place, keys in re.findall(r"at '([^']*)': additional properties (.+) not allowed", str(refused.exception)):
            places.setdefault(place, set()).update(re.findall(r"'([^']+)'", keys))
        for setting in self.MISSPELT:
            above, _, rest = setting.partition("!")
            place = "".join(f"/{step}" for step in above.split(".") if step)
            with self.subTest(setting):
                self.assertIn(rest.split(".")[0], places.get(place, set()))
        for setting in ('extensionProviders=[{"name": "a", "zipkin": {"servce": "b"}}]', 'caCertificates=[{"pen": "x"}]'):
            with self.assertRaises(Refused):
                render("default", sets=["meshConfig." + setting])
        for selector in ('[{"matchLabel": {"a": "b"}}]', '[{"matchExpressions": [{"key": "a", "op": "Exists"}]}]'):
            with self.assertRaises(Refused):
                render("default", sets=["sidecarInjectorWebhook.neverInjectSelector=" + selector])

    def test_of_a_tag_that_is_the_revision(self):
        """Two configurations would select the same pods, and every one would be sent twice."""
        with self.assertRaises(Refused) as refused:
            render("default", sets=["revision=canary", 'revisionTags=["canary"]'])
        self.assertIn("which is the revision", str(refused.exception))

    def test_do_not_hit_the_longest_revision(self):
        names = [document["metadata"]["name"] for document in objects(render("default", sets=["revision=" + "r" * 53]))
                 if document["kind"] == "Service"]
        self.assertEqual([len(name) for name in names], [63])

    def test_of_mounted_config_maps_of_another_namespace(self):
        with self.assertRaises(Refused) as refused:
            render("files-istio", namespace="outrigger-system")
        self.assertIn("configuration.mode: files", str(refused.exception))

    def test_of_a_policy_that_contradicts_the_injector(self):
        with self.assertRaises(Refused):
            render("default", sets=["validatingAdmissionPolicy.enabled=true", "global.proxy.autoInject=disabled"])


class ThePolicy(unittest.TestCase):
    def conditions(self, *sets):
        sets = ["validatingAdmissionPolicy.enabled=true", *sets]
        policies = [document for document in objects(render("default", sets=sets))
                    if document["kind"] == "ValidatingAdmissionPolicy"]
        return {condition["name"]: condition["expression"] for condition in policies[0]["spec"]["matchConditions"]}

    def test_is_not_about_pods_that_are_not_sent(self):
        """A pod that a condition of the webhook excludes has no proxy, and must not be refused for that."""
        extra = 'webhook.matchConditions.extra=[{"name": "a", "expression": "webhook"}]'
        self.assertEqual(self.conditions(extra)["a"], "webhook")
        own = 'validatingAdmissionPolicy.matchConditions=[{"name": "a", "expression": "policy"}]'
        self.assertEqual(self.conditions(extra, own)["a"], "policy")


class TheValues(unittest.TestCase):
    def test_say_nothing_twice(self):
        """Parsers differ in which duplicate they take, and strict ones take none."""
        class Strict(yaml.SafeLoader):
            pass
        def mapping(loader, node):
            keys = [loader.construct_object(key) for key, _ in node.value]
            self.assertEqual(sorted(set(keys)), sorted(keys), node.start_mark)
            return yaml.SafeLoader.construct_mapping(loader, node, deep=True)
        Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
        yaml.load((CHART / "values.yaml").read_text(), Strict)


class TheSchema(unittest.TestCase):
    def test_knows_every_default(self):
        """A default without a place in the schema would be one that nobody can override."""
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        def walk(value, schema, path):
            if "anyOf" in schema:
                schema = schema["anyOf"][0]
            for key, inner in (value or {}).items():
                self.assertIn(key, schema["properties"], f"{path}.{key}")
                if isinstance(inner, dict) and schema["properties"][key].get("additionalProperties") is False:
                    walk(inner, schema["properties"][key], f"{path}.{key}")
        walk(values, schema, "")

    def properties(self, path):
        """The keys of a place in the values; None where everything is taken."""
        schema = json.loads((CHART / "values.schema.json").read_text())
        place = schema
        for step in [None, *path]:
            place = place if step is None else place["properties"][step]
            while "$ref" in place:
                reference = place["$ref"].removeprefix("#/").split("/")
                place = functools.reduce(lambda found, key: found[key], reference, schema)
        return set(place["properties"]) if place.get("additionalProperties") is False else None

    def test_knows_every_value_that_embedded_templates_read(self):
        """And at every depth nothing else, so that a key with a typo is refused."""
        read = set()
        for path in filter(pathlib.Path.is_file, (ROOT / "templates").iterdir()):
            text = path.read_text()
            read |= set(re.findall(r"\.Values\.([\w.]+)", text))
            read |= {f"global.proxy.{key}" for key in re.findall(r"\$proxy\.([\w.]+)", text)}
        self.assertGreater(len(read), 40)
        for value in sorted(read):
            steps = value.split(".")
            for depth, step in enumerate(steps):
                keys = self.properties(steps[:depth])
                if keys is None:
                    # pilot.env and the like: maps of names that are the user's.
                    self.assertIn(steps[:depth], ([["pilot", "env"]]), value)
                    break
                with self.subTest(value):
                    self.assertIn(step, keys)

    def test_knows_every_default_of_the_values_templates_see(self):
        defaults = yaml.safe_load((ROOT / "crates/injector/src/config/defaults/values.yaml").read_text())
        def walk(value, path):
            keys = self.properties(path)
            for key, inner in value.items():
                if keys is not None:
                    with self.subTest(".".join([*path, key])):
                        self.assertIn(key, keys)
                    if isinstance(inner, dict) and path[:1] != ["waypoint"]:
                        try:
                            self.properties([*path, key])
                        except KeyError:
                            continue
                        walk(inner, [*path, key])
        walk(defaults, [])

    def test_knows_every_field_of_mesh_config_that_the_injector_knows(self):
        text = (ROOT / "crates/istio-config/src/gotypes.rs").read_text()
        for table, path in (("MESH_CONFIG", ["meshConfig"]), ("PROXY_CONFIG", ["meshConfig", "defaultConfig"])):
            body = re.search(rf"pub static {table}: Type = .*?&\[(.*?)\n\]", text, re.DOTALL).group(1)
            names = set(re.findall(r'^    f\("\w+", "(\w+)"', body, re.MULTILINE))
            self.assertGreater(len(names), 30)
            self.assertEqual(names - self.properties(path), set())

    def test_is_written_from_the_injector_s_tables_of_types(self):
        """`python3 schema.py` in hack/chart regenerates it."""
        text = schema.SCHEMA.read_text()
        self.assertEqual(schema.text(schema.written(json.loads(text))), text)

    def test_takes_mesh_config_with_every_kind_of_field(self):
        values = {"meshConfig": {
            "defaultConfig": {
                "tracing": {"zipkin": {"address": "a:1"}, "customTags": {"a": {"literal": {"value": "b"}}}, "sampling": 1.5},
                "image": {"imageType": "distroless"}, "gatewayTopology": {"numTrustedProxies": 1},
                "proxy_stats_matcher": {"inclusion_prefixes": ["a"]}, "proxyMetadata": {"ANY": "x"},
                "readinessProbe": {"httpGet": {"port": 1}}, "runtimeValues": {"a.b": "c"}},
            "extensionProviders": [
                {"name": "a", "envoyFileAccessLog": {"path": "/dev/stdout", "logFormat": {"labels": {"any": {"thing": "x"}}}}},
                {"name": "b", "opentelemetry": {"service": "c", "port": 1, "resource_detectors": {"environment": {}}}}],
            "localityLbSetting": {"distribute": [{"from": "a/*", "to": {"b/*": 100}}]},
            "discoverySelectors": [{"matchLabels": {"a": "b"}}], "ca": None, "tlsDefaults": None},
            "gateways": {"securityContext": {"sysctls": [{"name": "a", "value": "b"}], "runAsUser": 1337}},
            "global": {"proxy": {"lifecycle": {"preStop": {"exec": {"command": ["a"]}}}},
                       "waypoint": {"resources": {"limits": {"cpu": "1"}}, "nodeSelector": {"a": "b"}, "tolerations": []}}}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(values, file)
            file.flush()
            render("default", pathlib.Path(file.name), namespace=NAMESPACE)

    def test_knows_the_types_the_injector_reads(self):
        """The values whose type crates/injector/src/config/values.rs checks."""
        text = (ROOT / "crates/injector/src/config/values.rs").read_text()
        for table, path in (("GLOBAL", ["global"]), ("PROXY", ["global", "proxy"])):
            body = re.search(rf"const {table}: .*?= &\[(.*?)\n\];", text, re.DOTALL).group(1)
            names = re.findall(r'^    \("(\w+)"', body, re.MULTILINE)
            self.assertGreater(len(names), 20)
            self.assertEqual(set(names) - self.properties(path), set())

    def test_has_a_default_for_every_setting_of_ours(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        for key, inner in schema["properties"].items():
            inner = inner.get("anyOf", [inner])[0]
            if inner.get("additionalProperties") is False and inner.get("type") == "object":
                with self.subTest(key):
                    self.assertEqual(set(values[key]) | ({"claims"} if key == "resources" else set()),
                                     set(inner["properties"]))


if __name__ == "__main__":
    unittest.main()
