"""Shared by the tests of the chart: rendering it, and reading the result."""

import functools
import os
import pathlib
import subprocess

import yaml

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
CHART = ROOT / "charts" / "outrigger"
VALUES = sorted((HERE / "values").glob("*.yaml"))
NAMESPACE = "outrigger-system"


class Refused(Exception):
    """The chart rejects the values; the text is helm's."""


def tools():
    """The folder of helm and kubectl, which hack/controlplane/build made."""
    return pathlib.Path(
        subprocess.run([ROOT / "hack/controlplane/build"], check=True, capture_output=True, text=True).stdout.strip()
    )


@functools.cache
def helm():
    """The helm to test with: HELM, or the one of the control plane."""
    return os.environ.get("HELM") or str(tools() / "helm" / "helm")


@functools.cache
def kubectl():
    return str(tools() / "kubernetes" / "kubectl")


# The chart installs nothing without an image. Values files of istiod may have a string there, which --set cannot replace.
IMAGE = ["--set-json", 'image={"repository": "outrigger"}']


def values_of(*values, image=True):
    """The arguments for files of values: a name is one of ours. Files without an image get one."""
    files = [HERE / "values" / f"{file}.yaml" if isinstance(file, str) else pathlib.Path(file) for file in values]
    arguments = [argument for file in files for argument in ("--values", str(file))]
    named = any("repository:" in file.read_text() for file in files)
    return arguments + (IMAGE if image and not named else [])


def render(*values, namespace=None, sets=(), upgrade=False, image=True, tests=False):
    """The text the chart renders for files of values and for `--set` arguments; what `helm test` runs only if asked for."""
    command = [helm(), "template", "outrigger", str(CHART), "--namespace", namespace or namespace_of(*values)]
    command += values_of(*values, image=image)
    if not tests:
        command.append("--skip-tests")
    for pair in sets:
        command += ["--set-json" if "={" in pair or "=[" in pair else "--set", pair]
    if upgrade:
        command.append("--is-upgrade")
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise Refused(result.stderr)
    return result.stdout


def namespace_of(*values):
    """A file of values can name the namespace it is for, in its first line."""
    for file in values:
        path = HERE / "values" / f"{file}.yaml" if isinstance(file, str) else file
        first = path.read_text().splitlines()[0]
        if first.startswith("# namespace: "):
            return first.removeprefix("# namespace: ").strip()
    return NAMESPACE


def objects(text):
    return [document for document in yaml.safe_load_all(text) if document]


@functools.cache
def rendered(name):
    """The objects of a file of values, by (kind, name)."""
    result = {}
    for document in objects(render(name)):
        key = (document["kind"], document["metadata"]["name"])
        assert key not in result, f"{name}: {key} is there twice"
        result[key] = document
    return result


def of_kind(name, kind):
    return [document for (found, _), document in rendered(name).items() if found == kind]


def only(name, kind):
    found = of_kind(name, kind)
    assert len(found) == 1, f"{name}: found {len(found)} of kind {kind}, wanted one"
    return found[0]


def arguments(name):
    """The flags of the Deployment: name to value; a flag without one is True."""
    flags = {}
    container = only(name, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    for argument in container["args"][1:]:
        flag, _, value = argument.partition("=")
        flags[flag] = value or True
    return flags


def matches(selector, labels):
    """Whether a label selector matches, as the API server decides it."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for requirement in selector.get("matchExpressions") or []:
        key, operator, values = requirement["key"], requirement["operator"], requirement.get("values", [])
        fits = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[operator]
        if not fits:
            return False
    return True
