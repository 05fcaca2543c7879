#!/usr/bin/env python3
"""The table of docs/performance.md, from what hack/perf/run has written: table.py target/perf/NAME.json"""

import json
import sys


def number(value, unit=""):
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}{unit}"


def lines(rows):
    """What, target, measured; a row that was not measured is left out."""

    def row(name):
        return rows.get(name) if "error" not in rows.get(name, {"error": ""}) else None

    def costs(name, what, target):
        if found := row(name):
            yield (what, target, f"{number(found['cpu_ms'])} ms, {number(found['times_floor'])} × floor "
                                 f"({number(found['floor_cpu_ms'])} ms)")

    def latency(name, what, target):
        if found := row(name):
            spread = found["run"]["latency_ms"]
            both = " / ".join(number(spread[key]) for key in ["p50", "p99"])
            yield what, target, f"{both} ms (p99.9 {number(spread['p99.9'])})"

    yield from costs("replicas", "CPU per injection over TLS keep-alive, replicas", "≤ 0.15 ms, ≤ 2.5 × floor")
    yield from costs("same-hash", "the same, one ReplicaSet", "")
    yield from costs("shapes", "the same, distinct shapes", "≤ 0.28 ms")
    yield from costs("bare", "the same, the bare pod Istio was measured with", "Istio: 3.3–3.8 ms")
    yield from costs("skips", "skip", "≤ 1.3 × floor")
    yield from costs("denials", "denial", "")
    yield from costs("big", "`big.json`, 36 KB", "")
    yield from costs("sized 50000", "a pod of 50 KB, seen", "")
    yield from costs("sized-shapes 50000", "a pod of 50 KB, never seen", "")
    yield from costs("sized 500000", "a pod of 500 KB, seen", "")
    yield from costs("sized-shapes 500000", "a pod of 500 KB, never seen", "")
    yield from costs("http2 replicas", "replicas, HTTP/2", "")
    yield from costs("http2 shapes", "distinct shapes, HTTP/2", "")
    yield from costs("connect connect", "replicas, one connection each, full handshake", "")
    yield from costs("connect resume", "replicas, one connection each, resumed", "")
    yield from latency("one connection shapes", "p50 / p99, one connection, distinct shapes", "≤ 0.4 / ≤ 1 ms")
    yield from latency("one connection replicas", "p50 / p99, one connection, replicas", "")
    yield from latency("one connection bare", "p50 / p99, one connection, bare pod", "Istio: 2.5 / 6.2 ms")
    if (one := row("scaling 0")) and (two := row("scaling 0,1")):
        times = 2 * one["cpu_ms"] / two["cpu_ms"] * (1 - two["idle"])
        yield ("scaling from 1 to 2 CPUs, by CPU time and idle time", "≥ 1.8 ×",
               f"{number(times)} × ({number(one['cpu_ms'])} → {number(two['cpu_ms'])} ms, idle {number(100 * two['idle'])}%)")
    for name, what, target in [
        ("handshakes", "TLS 1.3 handshakes per core-second, full / resumed", "≥ 2,500 / ≥ 6,000"),
        ("handshakes classic", "the same, X25519 alone", ""),
    ]:
        if found := row(name):
            yield what, target, " / ".join(number(found[kind]["per_core_second"]) for kind in ["full", "resumed"])
    if found := row("memory shapes"):
        memory = found["memory"]
        yield ("RSS idle / after 60 s of distinct shapes", "≤ 12 / ≤ 40 MiB",
               f"{number(found['idle_mib'])} / {number(memory['rss_mib'])} MiB (peak {number(memory['peak_mib'])})")
    for name in ["hostile-text", "hostile-values"]:
        if found := row(f"burst {name}"):
            answers = ", ".join(f"{count} {kind}" for kind, count in found["run"]["outcomes"].items())
            yield (f"peak RSS with 64 × 3 MiB at once, {name.split('-')[1]}", "bounded by a formula",
                   f"{number(found['memory']['peak_mib'])} MiB ({answers})")
    if found := row("series"):
        for name, series in found.items():
            if isinstance(series, dict):
                yield (f"{name}: share from the cache; CPU ÷ ReplicaSet's", "≥ 99 %; ≤ 1.15 ×",
                       f"{100 * series['cached_share']:.1f}%; {series['times_replica_set']:.2f} × ({number(series['cpu_ms'], ' ms')})")
    if found := row("start"):
        yield "process start to first response, standalone", "≤ 40 ms", number(found["answered_ms"], " ms")
    for name, what in [("overload", "distinct shapes"), ("overload big", "`big.json`")]:
        if found := row(name):
            series = [memory for _, memory in found["rss_mib"]]
            yield (f"overload, {what}: p99 of accepted, goodput, refused, RSS", "≤ 50 ms, ≥ 85 %, 429, flat",
                   f"{number(found['sent_per_second'] / found['capacity'])} × capacity sent: "
                   f"{number(found['run']['latency_ms']['p99'])} ms (from sending {number(found['run']['from_sending_ms']['p99'])}), "
                   f"{number(100 * found['goodput_share'])}%, "
                   f"{number(100 * found['shed_share'])}%, {number(series[0])} → {number(series[-1])} MiB (most {number(max(series))})")


def markdown(measured):
    about = measured["about"]
    out = [f"{about['cpu']}, {about['cpus']} CPUs, Linux {about['kernel']}, {about['commit']}, {about['time']}", "",
           "| metric | target | measured |", "| --- | --- | --- |"]
    out += [f"| {what} | {target} | {found} |" for what, target, found in lines(measured["rows"])]
    out.append(f"| release binary, stripped | ≤ 16 MiB | {about['binary_mib']} MiB |")
    failed = [f"- {name}: {row['error']}" for name, row in measured["rows"].items() if "error" in row]
    if failed:
        out += ["", "Not measured:", "", *failed]
    return "\n".join(out)


if __name__ == "__main__":
    print(markdown(json.load(open(sys.argv[1]))))
