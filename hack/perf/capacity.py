#!/usr/bin/env python3
"""The needs of a cluster, from the measurements: capacity.py target/perf/NAME.json

The model:

    CPU of a burst      = (whole answers + learned ones) × C_new + other pods × C_seen + connections × C_handshake
    time to drain it    = CPU of the burst / (replicas × CPUs each × U)
    memory of a replica = M_loaded + namespaces × M_namespace + nodes × M_node

C are CPU times of one request, M are bytes. U is how much of a CPU is planned for: above it requests queue.
"""

import json
import math
import sys

# How much of a CPU is planned for.
UTILISATION = 0.6
# An assumption. In each replica, the first two pods of a workload go through the whole pipeline, the others are replayed.
PODS_OF_A_WORKLOAD = 10
# Pods that one API server can create in a second: each goes through etcd.
CREATES_PER_API_SERVER = 500
API_SERVERS = 3
# Connections of one API server while it is busy.
CONNECTIONS = 50
# Bytes for each, from tests/e2e/scale.rs: 11 MiB for 20,000 namespaces and 5,000 nodes.
NAMESPACE = 480
NODE = 400
# The CPU request of a replica is rounded up to a multiple of this.
STEP = 0.05

CLUSTERS = [(5, 150), (1_000, 30_000), (5_000, 150_000), (15_000, 500_000)]


def costs(rows):
    """CPU time in milliseconds and memory in MiB, as measured."""
    memory = rows["memory shapes"]
    return {
        "seen": rows["replicas"]["cpu_ms"],
        "new": rows["shapes"]["cpu_ms"],
        "handshake": rows["handshakes"]["full"]["cpu_ms"],
        "idle": memory["idle_mib"],
        "loaded": memory["memory"]["peak_mib"],
    }


def burst(cost, pods, replicas):
    """CPU seconds of all replicas together for the creation of pods."""
    # Each replica sees a workload a first time, and learns its answer when it sees it a second time.
    whole = min(pods, 2 * replicas * math.ceil(pods / PODS_OF_A_WORKLOAD))
    milliseconds = (whole + whole / 2) * cost["new"] + (pods - whole) * cost["seen"]
    return (milliseconds + API_SERVERS * CONNECTIONS * cost["handshake"]) / 1000


def clusters(rows):
    cost = costs(rows)
    out = [
        "| nodes, pods | memory per replica | CPU to create all pods | pods per second, CPUs for them | replicas × CPU request | 5,000 pods at once |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for nodes, pods in CLUSTERS:
        namespaces = max(10, pods // 25)
        memory = cost["loaded"] + (nodes * NODE + namespaces * NAMESPACE) / 2**20
        replicas = 2 if nodes < 5_000 else 3
        total = burst(cost, pods, replicas)
        # API servers and controllers determine how fast pods come.
        rate = min(API_SERVERS * CREATES_PER_API_SERVER, max(20, pods / 60))
        cores = rate * total / pods
        # One replica may be lost: the others are enough.
        request = max(STEP, math.ceil(cores / UTILISATION / (replicas - 1) / STEP) * STEP)
        at_once = burst(cost, 5_000, replicas)
        drained = at_once / (replicas * request * UTILISATION)
        out.append(
            f"| {nodes:,}, {pods:,} | {memory:.0f} MiB | {total:.1f} s | {rate:,.0f}/s: {cores:.2f} "
            f"| {replicas} × {request:.2f} | {at_once:.2f} s of CPU, drained in {drained:.1f} s |"
        )
    return "\n".join(out)


def check(rows, measure):
    """Compares what the model says with three replicas behind one open loop, at a scaled-down rate."""
    if "cpu_ms" not in rows.get("shapes", {}):
        return {"error": "there is no measurement to predict from"}
    cost = rows["shapes"]["cpu_ms"]
    # Half of the one CPU that the replicas share.
    rate = round(0.5 * 1000 / cost)
    found = measure(["replicas", "--corpus", "shapes", "--replicas", "3", "--connections", "4", "--seconds", "15",
                     "--rate", str(rate)])
    if "error" in found:
        return found
    predicted, used = rate * cost / 1000, sum(one["cores"] for one in found["used"])
    return found | {"predicted_cores": predicted, "measured_cores": used, "off": used / predicted - 1}


if __name__ == "__main__":
    measured = json.load(open(sys.argv[1]))["rows"]
    if missing := {"replicas", "shapes", "handshakes", "memory shapes"} - measured.keys():
        sys.exit(f"not measured: {', '.join(sorted(missing))}")
    print(clusters(measured))
    if "off" in (found := measured.get("capacity", {})):
        print(f"\nPredicted {found['predicted_cores']:.3f} cores for {found['replicas']} replicas at {found['rate']:.0f} "
              f"requests a second, measured {found['measured_cores']:.3f} ({100 * found['off']:+.0f}%).")
