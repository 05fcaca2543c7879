"""Every page in both color schemes and at three widths: axe-core finds no violation of WCAG 2.2 AA, and nothing is wider than the window.

With SCREENSHOTS=FOLDER, a picture of each is written there, to be looked at.
"""

import json
import os
import ssl
import subprocess
import tempfile
import unittest
import urllib.request
from pathlib import Path

import axe_playwright_python
from browser import OUTRIGGER, ROOT, BrowserTest, Server

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WIDTHS = [360, 768, 1600]
SCREENSHOTS = os.environ.get("SCREENSHOTS")

POD = """apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations: {sidecar.istio.io/proxyCpu: "1", sidecar.istio.io/interceptionMode: NONE}
spec:
  containers: [{name: web, image: web}]
"""


def start(page):
    page.goto("/")


def everything(page):
    """Warnings, a mistake in the configuration, the patch, and an explanation that has the focus."""
    page.get_by_text("Configuration", exact=True).first.click()
    page.fill("#bundle", "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nvalues: {global: {proxy: {logLevl: x}}}\n")
    page.fill("#manifest", POD)
    page.wait_for_selector(".warnings")
    page.wait_for_selector(".diagnostics")
    page.locator("summary", has_text="JSON patch").click()
    page.locator(".origin").nth(2).focus()


def errors(page):
    page.fill("#bundle", "apiVersion: outrigger.dev/v1alpha1\nkind: Bundl\n")
    page.wait_for_selector(".diagnostics .error")


def templates(page):
    page.goto("/templates")
    page.fill("#tests", "apiVersion: outrigger.dev/v1alpha1\nkind: TemplateTests\ncases: [{}]\n")
    page.wait_for_selector(".badge.fails")


def reason(page):
    page.goto("/reasons/HOST_NETWORK")


def reasons(page):
    page.goto("/reasons")


STATES = {"start": start, "everything": everything, "errors": errors, "templates": templates, "reason": reason, "reasons": reasons}


class Accessibility(BrowserTest):
    def check(self, page, name):
        if not page.evaluate("'axe' in window"):
            page.evaluate(AXE)
        found = page.evaluate("tags => axe.run(document, {runOnly: tags, resultTypes: ['violations']})", TAGS)
        self.assertGreater(len(found["passes"]), 10, "axe looked at the page")
        violations = [
            f"{violation['id']}: {violation['help']}: {[node['html'][:200] for node in violation['nodes'][:3]]}"
            for violation in found["violations"]
        ]
        self.assertEqual(violations, [], name)
        wide, width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        self.assertLessEqual(wide, width, f"{name} scrolls sideways")
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=name.startswith("start"))

    def test_no_page_violates_wcag_aa(self):
        page = self.open()
        for name, prepare in STATES.items():
            prepare(page)
            self.check_all(page, name)

    def test_the_page_of_a_running_server_does_not_either(self):
        server = self.enterContext(Server())
        self.origins.append(server.admin)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "w"}]}}
        request = {"uid": "1", "operation": "CREATE", "namespace": "shop", "object": pod,
                   "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"}}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        post = urllib.request.Request(
            server.webhook + "/inject", json.dumps(review).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(post, context=ssl._create_unverified_context(), timeout=20).read()
        page = self.open()
        page.goto(server.admin + "/ui")
        self.assertEqual(page.locator("td", has_text="POLICY_ENABLED").count(), 1)
        self.check_all(page, "running")

    def test_reports_do_not_either(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        head = "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n"
        (folder / "old.yaml").write_text(head)
        (folder / "new.yaml").write_text(head + "values: {global: {tag: 1.99.0, proxy: {logLevel: debug}}}\n")
        report = folder / "changes.html"
        subprocess.run(
            [OUTRIGGER, "what-if", "--old", folder / "old.yaml", "--new", folder / "new.yaml", "--html", report,
             "-f", ROOT / "tests/fixtures/manifests"],
            check=True, capture_output=True, timeout=60,
        )
        page = self.open()
        self.origins.append(report.as_uri())
        page.goto(report.as_uri())
        page.get_by_text("Names").first.click()
        self.check_all(page, "report")

    def check_all(self, page, name):
        for scheme in ["light", "dark"]:
            for width in WIDTHS:
                with self.subTest(state=name, scheme=scheme, width=width):
                    page.emulate_media(color_scheme=scheme)
                    page.set_viewport_size({"width": width, "height": 900})
                    self.check(page, f"{name}-{scheme}-{width}")


if __name__ == "__main__":
    unittest.main()
