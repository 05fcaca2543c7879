"""deploy/ is the chart's objects without helm."""

import copy
import subprocess
import unittest

from chart import ROOT, kubectl, objects, rendered
from kustomize import BASE, files

HELMS = ("app.kubernetes.io/managed-by", "helm.sh/chart")


def normalised(document):
    document = copy.deepcopy(document)
    for label in HELMS:
        document["metadata"].get("labels", {}).pop(label, None)
    return document


def built(folder):
    result = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return {(d["kind"], d["metadata"]["name"]): d for d in objects(result.stdout)}


class Kustomize(unittest.TestCase):
    maxDiff = None

    def test_base_is_written_from_the_chart(self):
        for name, text in files().items():
            with self.subTest(name):
                self.assertEqual((BASE / name).read_text(), text, "hack/chart/kustomize.py regenerates it")
        self.assertEqual({path.name for path in BASE.iterdir()}, set(files()))

    def test_overlays_are_what_the_chart_renders(self):
        overlays = {path.name for path in (ROOT / "deploy/overlays").iterdir()}
        self.assertEqual(overlays, {"default", "istio-configmaps", "cert-manager", "files-mode"})
        for name in sorted(overlays):
            wanted = {key: normalised(document) for key, document in rendered(name).items()}
            found = {key: normalised(document) for key, document in built(ROOT / "deploy/overlays" / name).items()}
            found.pop(("Namespace", "outrigger-system"))
            with self.subTest(name):
                self.assertEqual(sorted(found), sorted(wanted))
            for key in wanted:
                with self.subTest(name, object=key):
                    self.assertEqual(found[key], wanted[key])

    def test_samples_build(self):
        self.assertIn(("Namespace", "shop"), built(ROOT / "deploy/samples"))


if __name__ == "__main__":
    unittest.main()
