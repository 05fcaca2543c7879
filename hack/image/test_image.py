"""The image that hack/image/build writes is the one that deploy/Dockerfile describes, and the same every time."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import re
import tarfile
import tempfile
import unittest

import image
import oci

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NAME = "registry.example.com/outrigger:1.2.3"


def made(folder, binary="/bin/true", epoch="1700000000"):
    file = pathlib.Path(folder) / "image.tar"
    os.environ["SOURCE_DATE_EPOCH"] = epoch
    os.environ.pop("OUTRIGGER_COMMIT", None)
    with contextlib.redirect_stderr(io.StringIO()):
        image.main(binary, str(file), NAME)
    return file


class Archive:
    def __init__(self, file):
        self.tar = tarfile.open(file)
        index = self.document("index.json")
        (self.described,) = index["manifests"]
        self.manifest = self.blob(self.described["digest"])
        self.config = self.blob(self.manifest["config"]["digest"])
        (layer,) = self.manifest["layers"]
        self.layer = self.read(layer["digest"])

    def bytes(self, name):
        return self.tar.extractfile(name).read()

    def document(self, name):
        return json.loads(self.bytes(name))

    def read(self, digest):
        content = self.bytes("blobs/" + digest.replace(":", "/"))
        assert hashlib.sha256(content).hexdigest() == digest.split(":")[1], digest
        return content

    def blob(self, digest):
        return json.loads(self.read(digest))


class TheImage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.archive = Archive(made(cls.folder.name))
        text = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ")
        cls.stage = text[text.rindex("FROM scratch") :]

    @classmethod
    def tearDownClass(cls):
        cls.archive.tar.close()
        cls.folder.cleanup()

    def instruction(self, name):
        (found,) = re.findall(rf"^{name} (.*)$", self.stage, re.MULTILINE)
        return found

    def test_it_starts_what_the_dockerfile_starts(self):
        config = self.archive.config["config"]
        self.assertEqual(config["Entrypoint"], json.loads(self.instruction("ENTRYPOINT")))
        self.assertEqual(config["Cmd"], json.loads(self.instruction("CMD")))
        self.assertEqual(config["User"], self.instruction("USER"))
        self.assertEqual(sorted(config["ExposedPorts"]), sorted(f"{port}/tcp" for port in self.instruction("EXPOSE").split()))

    def test_it_has_the_labels_of_the_dockerfile(self):
        labels = dict(re.findall(r'([\w.]+)="([^"]*)"', self.instruction("LABEL")))
        self.assertEqual({key: self.archive.config["config"]["Labels"].get(key) for key in labels}, labels)
        self.assertEqual(self.archive.config["config"]["Labels"]["org.opencontainers.image.version"], "1.2.3")

    def test_it_has_the_files_of_the_dockerfile_and_the_libraries_of_the_binary(self):
        with tarfile.open(fileobj=io.BytesIO(self.archive.layer)) as layer:
            entries = layer.getmembers()
        files = {f"/{entry.name}" for entry in entries if not entry.isdir()}
        copied = {line.split()[-1] for line in re.findall(r"^COPY (.*)$", self.stage, re.MULTILINE)}
        self.assertEqual(files, copied | set(oci.libraries("/bin/true")))
        for entry in entries:
            self.assertEqual((entry.uid, entry.gid, entry.mode & 0o7022), (0, 0, 0), entry.name)

    def test_a_static_binary_brings_no_library(self):
        script = pathlib.Path(self.folder.name) / "script"
        script.write_text("#!/outrigger\n")
        self.assertEqual(oci.libraries(str(script)), [])

    def test_digests_are_those_of_the_bytes(self):
        self.assertEqual(self.archive.config["rootfs"]["diff_ids"], [self.archive.manifest["layers"][0]["digest"]])
        self.assertEqual(self.archive.described["annotations"]["io.containerd.image.name"], NAME)

    def test_the_same_files_make_the_same_bytes(self):
        with tempfile.TemporaryDirectory() as other, tempfile.TemporaryDirectory() as later:
            one, another = made(self.folder.name).read_bytes(), made(other).read_bytes()
            self.assertEqual(one, another)
            self.assertNotEqual(one, made(later, epoch="1700000001").read_bytes())


if __name__ == "__main__":
    unittest.main()
