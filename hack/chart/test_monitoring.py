"""Alerts and dashboard work, and refer to series and headings that exist."""

import json
import os
import re
import shutil
import subprocess
import unittest

import yaml
from chart import CHART, HERE, ROOT, objects, only, render

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
SERIES = re.compile(r"\b(?:outrigger|process|sidecar_injection)_[a-z_]+\b")


def promtool():
    return os.environ.get("PROMTOOL") or shutil.which("promtool")


def registered():
    """Every word the sources could have registered as the name of a series."""
    words = set()
    for path in (ROOT / "src" / "server").rglob("*.rs"):
        words |= set(re.findall(r'"([a-z_]+)"', path.read_text()))
    return words


def stems(series):
    """What a series is registered as: without our prefix, and without what the encoder appends."""
    name = series.removeprefix("outrigger_")
    yield name
    for suffix in ("_total", "_bucket", "_sum", "_count"):
        name = name.removesuffix(suffix)
    yield name
    yield name.removesuffix("_seconds")
    yield name.removesuffix("_bytes")


class Alerts(unittest.TestCase):
    def rules(self):
        for group in yaml.safe_load(ALERTS.read_text())["groups"]:
            yield from group["rules"]

    def test_are_fifteen_things_to_know(self):
        self.assertEqual(len({rule["alert"] for rule in self.rules() if "alert" in rule}), 15)

    def test_have_a_runbook_that_exists(self):
        headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        for rule in self.rules():
            if "alert" in rule:
                with self.subTest(rule["alert"]):
                    page, _, anchor = rule["annotations"]["runbook"].partition("#")
                    self.assertEqual(page, "docs/operations.md")
                    self.assertIn(anchor, anchors)
                    self.assertEqual(anchor, rule["alert"].lower())
                    self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
                    self.assertIn("for", rule)

    def test_fire_when_they_should_and_only_then(self):
        if not promtool():
            self.skipTest("there is no promtool; PROMTOOL names one")
        for command in (["check", "rules", ALERTS], ["test", "rules", HERE / "alerts_test.yaml"]):
            result = subprocess.run([promtool(), *command], capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_of_the_chart_are_those_of_the_file_with_another_runbook(self):
        rendered = only("everything", "PrometheusRule")["spec"]
        text = ALERTS.read_text().replace("runbook: docs/operations.md#", "runbook_url: https://wiki.example.com/outrigger#")
        self.assertEqual(rendered, yaml.safe_load(text))
        links = {rule["annotations"]["runbook_url"] for group in rendered["groups"] for rule in group["rules"] if "alert" in rule}
        self.assertEqual(len(links), 15)
        self.assertTrue(all(link.startswith("https://") for link in links), "a link that is not absolute leads nowhere")
        default = render("default", sets=["monitoring.prometheusRule.enabled=true"])
        rule, = [d for d in objects(default) if d["kind"] == "PrometheusRule"]
        self.assertEqual(rule["spec"], yaml.safe_load(ALERTS.read_text()))


class Dashboard(unittest.TestCase):
    def expressions(self):
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"]

    def test_is_well_formed(self):
        dashboard = json.loads(DASHBOARD.read_text())
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(set(ids)), len(ids))
        places = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), places, panel["title"])
                    places.add((x, y))

    def test_asks_what_prometheus_can_parse(self):
        if not promtool():
            self.skipTest("there is no promtool; PROMTOOL names one")
        rules = [{"record": f"panel:{index}", "expr": expression.replace("$__rate_interval", "5m")}
                 for index, (_, expression) in enumerate(self.expressions())]
        text = json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})
        result = subprocess.run([promtool(), "check", "rules", "--lint=none", "/dev/stdin"], input=text, capture_output=True,
                                text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_of_the_chart_is_the_file(self):
        config_map = next(d for d in objects(render("everything")) if d["metadata"]["name"] == "outrigger-dashboard")
        self.assertEqual(json.loads(config_map["data"]["outrigger.json"]), json.loads(DASHBOARD.read_text()))


class Series(unittest.TestCase):
    def test_that_are_asked_for_exist(self):
        asked = set(SERIES.findall(ALERTS.read_text() + DASHBOARD.read_text()))
        self.assertGreater(len(asked), 20)
        words = registered()
        unknown = sorted(series for series in asked if not words & set(stems(series)))
        self.assertEqual(unknown, [], "no source registers them")


if __name__ == "__main__":
    unittest.main()
