# SPDX-License-Identifier: MIT
"""The roofline figure of tests/perf/bench (Williams, Waterman & Patterson 2009): arithmetic intensity against GFLOP/s,
ceilings of every memory level and every kind of multiply-add, ours and the peer's point of each case."""
import math

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

OURS, PEER, CEILING, BAND = "#c0392b", "#2c6fbb", "#444444", "#8a8a8a"


def ceilings(axes, info, low, high):
    """Diagonals of memory up to the highest ceiling, horizontals of the types; the axes have their limits already."""
    top = max(info["peaks"].values())
    bottom = axes.get_ylim()[0]
    for level in info["levels"]:
        gbs = level["gbs"]
        axes.plot([low, top / gbs], [low * gbs, top], color=BAND, lw=1, zorder=1)
        at = max(low * 1.15, bottom * 1.3 / gbs)
        (x0, y0), (x1, y1) = axes.transData.transform([(at, at * gbs), (2 * at, 2 * at * gbs)])
        axes.annotate(f"{level['name']}  {gbs:.0f} GB/s", (at, at * gbs), xytext=(-2, 3), textcoords="offset points",
                      rotation=math.degrees(math.atan2(y1 - y0, x1 - x0)), rotation_mode="anchor", fontsize=8, color=BAND)
    shown = []
    for name, peak in sorted(sorted(info["peaks"].items(), reverse=True), key=lambda item: -round(item[1])):
        kind = name.rsplit(" ", 1)[0]
        if kind in shown or peak <= 0:  # the fastest instruction set of each type
            continue
        shown.append(kind)
        first = kind == "f32 FMA"
        axes.axhline(peak, color=CEILING, lw=1.4 if first else 0.8, ls="-" if first else "--", zorder=1)
        axes.annotate(f"{name}  {peak:.0f} G{'OP' if 'int' in kind else 'FLOP'}/s", (high / 1.05, peak), xytext=(0, 2),
                      textcoords="offset points", fontsize=8, ha="right", va="bottom", color=CEILING)


def draw(path, info, rows):
    """Whether there was something to draw into `path` (.png, .svg)."""
    points = [row for row in rows if row.get("flops") and row.get("bytes")]
    if not points:
        return False
    x = [row["flops"] / row["bytes"] for row in points]
    slowest = min(row["flops"] / max(row["ours_s"], row["peer_s"] or 0) for row in points) * 1e-9
    low, high = min(min(x) / 2, 0.1), max(max(x) * 3, 200)
    figure, axes = pyplot.subplots(figsize=(9.5, 6), dpi=150)
    axes.set(xscale="log", yscale="log", xlim=(low, high),
             ylim=(min(slowest / 3, info["gflops"] / 20), max(info["peaks"].values()) * 1.6),
             xlabel="arithmetic intensity: FLOP per byte, each operand read or written once", ylabel="GFLOP/s")
    axes.set_title(f"{info['cpu']}, {info['threads']} thread{'s' if info['threads'] > 1 else ''}", fontsize=10)
    figure.tight_layout()
    ceilings(axes, info, low, high)
    for at, row in zip(x, points):
        ours = row["flops"] / row["ours_s"] * 1e-9
        if row["peer_s"]:
            peer = row["flops"] / row["peer_s"] * 1e-9
            axes.plot([at, at], [peer, ours], color="#bbbbbb", lw=0.8, zorder=2)
            axes.plot(at, peer, "o", mfc="white", mec=PEER, ms=5, zorder=3)
        axes.plot(at, ours, "o", color=OURS, ms=5, zorder=4)
    if len(points) <= 12:
        for at, row in zip(x, points):
            axes.annotate(row["label"], (at, row["flops"] / row["ours_s"] * 1e-9), fontsize=7, xytext=(5, -9),
                          textcoords="offset points", color="#333333")
    axes.plot([], [], "o", color=OURS, ls="", label=f"isaribi, {points[0]['backend']}")
    peers = sorted({row["peer"].split(";")[0] for row in points if row["peer"]})
    if peers:
        axes.plot([], [], "o", mfc="white", mec=PEER, ls="", label=", ".join(peers))
    axes.grid(True, which="major", color="#eeeeee", zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.savefig(path)
    return True
