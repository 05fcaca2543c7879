"""OCI archives written byte by byte: the same files make the same archive, and no container engine is needed.

Layers are not compressed: the bytes that come out of gzip depend on its version.
"""

import datetime
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def architecture():
    """The name that OCI has for this machine's architecture."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def libraries(*programs):
    """The shared libraries that programs are linked with, and their loader: nothing for static ones."""
    found = set()
    for program in programs:
        result = subprocess.run(["ldd", program], capture_output=True, text=True)
        if result.returncode != 0 and "not a dynamic executable" not in result.stderr:
            raise SystemExit(f"ldd {program}: {result.stderr.strip()}")
        if "not found" in result.stdout:
            raise SystemExit(f"ldd {program}: {result.stdout.strip()}")
        found.update(re.findall(r"(?:^|\s)(/\S+)", result.stdout, re.MULTILINE))
    return sorted(found - set(programs))


class Layer:
    """A tar of files that belong to root, all of the same time, in the order of their names."""

    def __init__(self, epoch=0):
        self.epoch = epoch
        self.entries = {}

    def _add(self, path, kind, mode, content=None, target=""):
        path = path.strip("/")
        if path in self.entries:
            return
        parent = os.path.dirname(path)
        if parent:
            self.folder(parent)
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.mtime, info.linkname = kind, mode, self.epoch, target
        info.size = len(content) if content is not None else 0
        self.entries[path] = (info, content)

    def folder(self, path, mode=0o755):
        self._add(path, tarfile.DIRTYPE, mode)

    def file(self, path, content, mode=0o644):
        self._add(path, tarfile.REGTYPE, mode, content.encode() if isinstance(content, str) else content)

    def copy(self, path, source, mode=0o755):
        with open(source, "rb") as file:
            self.file(path, file.read(), mode)

    def link(self, path, target):
        self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def tar(self):
        return _tar((info, content) for _, (info, content) in sorted(self.entries.items()))


def _tar(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content) if content is not None else None)
    return buffer.getvalue()


def _json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def write(path, name, layers, config, epoch=0):
    """Writes an image of layers under a name with a tag, and returns the manifest's digest."""
    blobs = {}

    def blob(media_type, content):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    made = [blob("application/vnd.oci.image.layer.v1.tar", layer.tar()) for layer in layers]
    created = _time(epoch)
    machine = {"architecture": architecture(), "os": "linux"}
    image = {
        **machine,
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in made]},
        "history": [{"created": created, "created_by": "hack/image"} for _ in made],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob("application/vnd.oci.image.config.v1+json", _json(image)),
        "layers": made,
    }
    described = blob(MANIFEST, _json(manifest))
    # containerd and kind read the first annotation, skopeo and podman the second.
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**described, "annotations": annotations, "platform": machine}],
    }
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json(index),
        **{f"blobs/sha256/{digest}": content for digest, content in sorted(blobs.items())},
    }
    entries = []
    for file, content in files.items():
        info = tarfile.TarInfo(file)
        info.size, info.mode, info.mtime = len(content), 0o644, epoch
        entries.append((info, content))
    with open(path, "wb") as archive:
        archive.write(_tar(entries))
    return described["digest"]


def _time(epoch):
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
