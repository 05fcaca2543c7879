#!/usr/bin/env python3
"""The plots of docs/performance.md, from what hack/perf/run has written: plot.py target/perf/NAME.json docs/performance

The same measurements give the same bytes.
"""

import json
import math
import pathlib
import sys

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 55
COLOURS = ["#1f6feb", "#d1242f", "#1a7f37", "#8250df"]


class Axis:
    """A linear or logarithmic scale, with its ticks."""

    def __init__(self, values, log=False, zero=True):
        low, high = min(values), max(values)
        self.log = log
        if log:
            self.low, self.high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
            decades = range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)
            self.ticks = [10.0**decade for decade in decades]
        else:
            step = 10 ** math.floor(math.log10(high or 1))
            step = next(step * part for part in [0.1, 0.2, 0.25, 0.5, 1, 2] if high / (step * part) <= 6)
            self.low = 0 if zero else low
            self.high = step * math.ceil(high / step)
            self.ticks = [step * index for index in range(round(self.high / step) + 1)]

    def at(self, value):
        """Between 0 and 1."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


def short(value):
    for unit, size in [("M", 1e6), ("k", 1e3)]:
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def plot(title, x_label, y_label, series, log_x=False, log_y=False):
    """An SVG of lines: name of each, and its points. Nothing without points."""
    series = [(name, line) for name, line in series if line]
    points = [point for _, line in series for point in line]
    if not points:
        return None
    x_axis, y_axis = Axis([x for x, _ in points], log_x), Axis([y for _, y in points], log_y)

    def x_of(value):
        return LEFT + x_axis.at(value) * (WIDTH - LEFT - RIGHT)

    def y_of(value):
        return HEIGHT - BOTTOM - y_axis.at(value) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{title}</text>',
    ]
    for tick in y_axis.ticks:
        y = f"{y_of(tick):.1f}"
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#d8dee4"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y}" text-anchor="end" dominant-baseline="middle">{short(tick)}</text>')
    for tick in x_axis.ticks:
        x = f"{x_of(tick):.1f}"
        out.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eaeef2"/>')
        out.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{short(tick)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{x_label}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">{y_label}</text>')
    for index, (name, line) in enumerate(series):
        color = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        out += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{color}"/>' for x, y in line]
        y = TOP + 14 + 18 * index
        out.append(f'<line x1="{LEFT + 12}" x2="{LEFT + 32}" y1="{y - 4}" y2="{y - 4}" stroke="{color}" stroke-width="2"/>')
        out.append(f'<text x="{LEFT + 38}" y="{y}">{name}</text>')
    return "\n".join([*out, "</svg>", ""])


def plots(rows):
    rows = {name: row for name, row in rows.items() if "error" not in row}

    def family(name, key):
        """The rows of a name, by the number behind it."""
        found = [(float(full.split()[-1]), key(row)) for full, row in rows.items() if full.rsplit(" ", 1)[0] == name]
        return sorted(found)

    def sized(name, key):
        found = [(row["review_bytes"], key(row)) for full, row in rows.items() if full.split()[0] == name]
        return sorted(found)

    def cpu(row):
        return row["cpu_ms"]

    yield "pod-size", plot(
        "CPU time against the size of the review", "bytes", "ms",
        [("replicas", sized("sized", cpu)), ("distinct shapes", sized("sized-shapes", cpu)),
         ("floor", sized("sized", lambda row: row["floor_cpu_ms"]))], log_x=True, log_y=True)
    yield "cached", plot(
        "CPU time against namespaces and nodes in memory", "namespaces, and as many nodes", "ms",
        [("replicas", family("cached", cpu)), ("floor", family("cached", lambda row: row["floor_cpu_ms"]))], log_x=True)
    spread = [(f"{name}, {part}", family(f"offered {name}", lambda row, part=part: row["run"]["latency_ms"][part]))
              for name in ["replicas", "shapes"] for part in ["p50", "p99"]]
    yield "latency", plot("Latency against offered load, 16 connections", "share of one CPU's capacity", "ms", spread, log_y=True)
    yield "overload", plot(
        "Overload", "offered, in multiples of capacity", "share of capacity",
        [("answered", [(row["sent_per_second"] / row["capacity"], row["goodput_share"]) for row in ordered(rows)]),
         ("refused", [(row["sent_per_second"] / row["capacity"],
                       row["shed_share"] * row["sent_per_second"] / row["capacity"]) for row in ordered(rows)])])


def ordered(rows):
    found = [row for name, row in rows.items() if name.startswith("goodput ")]
    return sorted(found, key=lambda row: row["sent_per_second"] / row["capacity"])


if __name__ == "__main__":
    measured, folder = json.load(open(sys.argv[1]))["rows"], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in plots(measured):
        if svg is None:
            continue
        (folder / f"{name}.svg").write_text(svg)
        print(folder / f"{name}.svg")
