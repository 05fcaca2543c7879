"""Writes deploy/base from the chart, with the chart's own comments: what `helm template` gives, without helm's labels.

The overlays are written by hand; test_kustomize.py compares everything with the chart.
"""

import re

from chart import ROOT, render

BASE = ROOT / "deploy" / "base"
HELMS = re.compile(r"^ *(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)

KUSTOMIZATION = """\
# The default installation. The files are written by hack/chart/kustomize.py from the chart; change the chart, not these.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - namespace.yaml
{files}"""

NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: outrigger-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/enforce-version: latest
"""


def files():
    """Name to text."""
    texts = {}
    for document in re.split(r"^---\n", render("default"), flags=re.MULTILINE):
        source = re.match(r"# Source: outrigger/templates/(.+)\n", document)
        if source:
            body = HELMS.sub("", document[source.end():]).strip() + "\n"
            texts.setdefault(source.group(1), []).append(body)
    result = {name: "---\n".join(bodies) for name, bodies in texts.items()}
    listed = "".join(f"  - {name}\n" for name in result)
    return {**result, "namespace.yaml": NAMESPACE, "kustomization.yaml": KUSTOMIZATION.format(files=listed)}


if __name__ == "__main__":
    BASE.mkdir(parents=True, exist_ok=True)
    wanted = files()
    for path in BASE.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (BASE / name).write_text(text)
