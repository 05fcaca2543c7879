"""The images that run on the test node, as OCI archives of what hack/node/build made: images.py KEPT FOLDER.

proxyv2 is Istio's agent with upstream's Envoy, and with the iptables of this machine for istio-init; pilot is istiod. Files are
where Istio's images have them, so that arguments and paths of the templates work.
"""

import glob
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "image"))
import oci  # noqa: E402

HUB = "node.test"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWD = """root:x:0:0:root:/root:/bin/sh
istio-proxy:x:1337:1337:Istio:/nonexistent:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = "root:x:0:\nistio-proxy:x:1337:\nnogroup:x:65534:\n"
APPLETS = ("cat", "env", "grep", "id", "ip", "ls", "mkdir", "nc", "ps", "sed", "sh", "sleep", "tar", "wget")


def system():
    """What a small Debian has: users, a shell, /tmp."""
    layer = oci.Layer()
    layer.folder("/tmp", 0o1777)
    for folder in ("/etc", "/var/run", "/usr/local/bin", "/bin"):
        layer.folder(folder)
    layer.file("/etc/passwd", PASSWD)
    layer.file("/etc/group", GROUP)
    layer.file("/etc/nsswitch.conf", "hosts: files dns\n")
    layer.copy("/bin/busybox", "/bin/busybox")
    for applet in APPLETS:
        layer.link(f"/bin/{applet}", "/bin/busybox")
    return layer


def proxy(kept):
    layer = system()
    agent, envoy = kept / "istio/pilot-agent", kept / "envoy/envoy"
    layer.copy("/usr/local/bin/pilot-agent", agent)
    layer.copy("/usr/local/bin/envoy", envoy)
    bootstrap = kept / "istio/module/tools/packaging/common/envoy_bootstrap.json"
    layer.copy("/var/lib/istio/envoy/envoy_bootstrap_tmpl.json", bootstrap, 0o644)
    tables = "/usr/sbin/xtables-nft-multi"
    extensions = sorted(glob.glob("/usr/lib/*-linux-gnu/xtables/*.so"))
    layer.copy(tables, tables)
    for family in ("iptables", "ip6tables"):
        for verb in ("", "-save", "-restore"):
            layer.link(f"/usr/sbin/{family}{verb}", tables)
            layer.link(f"/usr/sbin/{family}-nft{verb}", tables)
    for file in extensions + oci.libraries(str(envoy), tables, *extensions):
        layer.copy(file, file)
    return layer, {"Entrypoint": ["/usr/local/bin/pilot-agent"], "Env": [PATH]}


def istiod(kept):
    layer = system()
    layer.copy("/usr/local/bin/pilot-discovery", kept / "istio/pilot-discovery")
    return layer, {"User": "1337:1337", "Entrypoint": ["/usr/local/bin/pilot-discovery"], "Env": [PATH]}


def app(kept):
    layer = system()
    layer.copy("/usr/local/bin/app", kept / "app/app")
    layer.copy("/usr/local/bin/grpc", kept / "grpc/grpc")
    return layer, {"Entrypoint": ["/usr/local/bin/app"], "Env": [PATH]}


def busybox(_kept):
    """For the init container of the template grpc-simple, which names it."""
    return system(), {"Cmd": ["sh"], "Env": [PATH]}


def pause(kept):
    layer = oci.Layer()
    layer.copy("/pause", kept / "app/app")
    return layer, {"Entrypoint": ["/pause"]}


IMAGES = {
    f"{HUB}/istio/proxyv2:node": proxy,
    f"{HUB}/istio/pilot:node": istiod,
    f"{HUB}/app:1": app,
    f"{HUB}/pause:1": pause,
    "docker.io/library/busybox:1.28": busybox,
}


def main(kept, folder):
    for name, make in IMAGES.items():
        layer, config = make(pathlib.Path(kept))
        file = os.path.join(folder, name.split(":")[0].rpartition("/")[2] + ".tar")
        print(f"{name}@{oci.write(file, name, [layer], config)}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
