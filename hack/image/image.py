"""Writes outrigger's image: image.py BINARY FILE NAME. hack/image/build says more."""

import os
import pathlib
import sys

import oci

LABELS = {
    "org.opencontainers.image.title": "outrigger",
    "org.opencontainers.image.description": "A sidecar injector for Kubernetes",
    "org.opencontainers.image.licenses": "Apache-2.0",
}
ROOTS = "/etc/ssl/certs/ca-certificates.crt"


def main(binary, file, name):
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    files = oci.Layer(epoch)
    # Root certificates for traces over TLS; for API servers, the ServiceAccount has the CA.
    files.copy(ROOTS, os.environ.get("OUTRIGGER_CA_CERTIFICATES", ROOTS), 0o644)
    files.copy("/outrigger", binary, 0o555)
    for library in oci.libraries(binary):
        files.copy(library, library)
    labels = dict(LABELS, **{"org.opencontainers.image.version": name.rsplit(":", 1)[1]})
    if commit := os.environ.get("OUTRIGGER_COMMIT"):
        labels["org.opencontainers.image.revision"] = commit
    config = {
        "User": "65532:65532",
        "ExposedPorts": {"8080/tcp": {}, "8443/tcp": {}},
        "Entrypoint": ["/outrigger"],
        "Cmd": ["serve"],
        "Labels": labels,
    }
    digest = oci.write(file, name, [files], config, epoch)
    size = pathlib.Path(file).stat().st_size / 1e6
    print(f"{name}@{digest}, {size:.1f} MB, {len(files.entries)} entries", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
