"""DNS for the pods of the test node: Services of the API server, and no other name.

dns.py ADDRESS SERVER TOKENS      TOKENS: the API server's file of tokens, of which the first is used
"""

import json
import pathlib
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.request

A, NXDOMAIN, ANSWER = 1, 3, 0x8580
DOMAIN = "svc.cluster.local"


class Services:
    """Addresses by name, read every second."""

    def __init__(self, server, token):
        self.server, self.headers = server, {"Authorization": f"Bearer {token}"}
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.names = {}

    def items(self, path):
        request = urllib.request.Request(self.server + path, headers=self.headers)
        with urllib.request.urlopen(request, context=self.context, timeout=5) as answer:
            return json.load(answer)["items"]

    def read(self):
        names, headless = {}, set()
        for service in self.items("/api/v1/services"):
            name = f"{service['metadata']['name']}.{service['metadata']['namespace']}.{DOMAIN}"
            address = service["spec"].get("clusterIP")
            names[name] = [address] if address not in (None, "", "None") else []
            if address == "None":
                headless.add(name)
        for piece in self.items("/apis/discovery.k8s.io/v1/endpointslices"):
            service = piece["metadata"].get("labels", {}).get("kubernetes.io/service-name")
            name = f"{service}.{piece['metadata']['namespace']}.{DOMAIN}"
            if name not in headless:
                continue
            for endpoint in piece.get("endpoints") or []:
                names[name] += endpoint["addresses"]
                if "hostname" in endpoint:
                    names.setdefault(f"{endpoint['hostname']}.{name}", []).extend(endpoint["addresses"])
        self.names = names

    def follow(self):
        while True:
            try:
                self.read()
            except Exception as error:  # an API server that restarts, say
                print("services:", error, flush=True)
            time.sleep(1)


def answer(query, names):
    position, labels = 12, []
    while query[position]:
        labels.append(query[position + 1 : position + 1 + query[position]].decode().lower())
        position += 1 + query[position]
    (kind,) = struct.unpack(">H", query[position + 1 : position + 3])
    addresses = names.get(".".join(labels))
    records = [socket.inet_aton(address) for address in addresses or []] if kind == A else []
    flags = ANSWER | (NXDOMAIN if addresses is None else 0)
    header = query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 5, 4) + record for record in records)
    return header + query[12 : position + 5] + body


def main(address, server, tokens):
    services = Services(server, pathlib.Path(tokens).read_text().split(",")[0])
    threading.Thread(target=services.follow, daemon=True).start()
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind((address, 53))
    while True:
        query, peer = port.recvfrom(4096)
        try:
            port.sendto(answer(query, services.names), peer)
        except Exception as error:
            print("query:", error, flush=True)


main(*sys.argv[1:])
