# SPDX-License-Identifier: MIT
"""The cost of second-order steps, for tests/perf/kfac: two runs of `isaribi train` on real samples that take short turns
(kfac_pairs.py), together as many as hold every renewal equally often. With --peer the other side is K-FAC of ASDL:
kfac_peer.py."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import kfac_pairs

WARM = 20  # steps of a run before the first turn
LINE = {"lenet5": 5}  # steps per line where lines of every step would be felt
VENV = pathlib.Path(os.environ.get("ISARIBI_PEERS", pathlib.Path.home() / ".cache/isaribi/peers"))
PERIOD = {"1/10": 10, "10/10": 10, "10/100": 100, "adaptive": 10}  # steps that hold every renewal
EACH = 10  # a turn is a multiple of so many steps, which hold the same renewals of factors
TURN = 0.4  # seconds of a turn of SGD, at least: many looks, and few first steps, whose caches another process filled
TURNS = 40  # at least
GROUPS = 10  # of turns with adaptive intervals: their ratios say how far the result can be trusted


def add_options(parser):
    parser.add_argument("--models", nargs="+", default=["lenet5", "small_cnn", "resnet14"], help="cost: presets")
    parser.add_argument("--intervals", nargs="+", choices=list(PERIOD), default=["1/10", "10/100", "adaptive"],
                        help="cost: steps between factors / between inverses")
    parser.add_argument("--batch", type=int, help="cost (default 256); autoencoder")
    parser.add_argument("--steps", type=int, default=0,
                        help="cost: steps of each side (default: 40 turns; of adaptive intervals 1500, from the first on)")
    parser.add_argument("--kind", default="kfac", help="cost: optimizer/kind")
    parser.add_argument("--peer", action="store_true", help="cost: against ASDL (tests/perf/peers, then pip install asdfghjkl)")
    parser.add_argument("--alone", action="store_true",
                        help="cost: runs one after the other instead of turns, steps by what they renew; not of adaptive")
    parser.add_argument("--pairs", type=int, default=5, help="cost: runs of each side, but one with adaptive intervals")
    parser.add_argument("--peer-steps", type=int, default=20, help="cost --peer: steps of a turn")


def intervals_of(name):
    if name == "adaptive":
        return ["kfac/refresh=adaptive"]
    factor, inverse = name.split("/")
    return [f"kfac/factor_every={factor}", f"kfac/inverse_every={inverse}"]


def command_of(options, root, model, folder, steps, line, overrides):
    return [str(options.program), "--quiet", "train", str(root / "inputs/fashion_mnist/lenet_sgd.toml"),
            f"run/dir={folder}/run", f"run/threads={options.threads}", f"model/preset={model}",
            f"data/batch={options.batch}", f"train/steps={steps}", f"train/log_every={line}",
            "train/eval_every=1000000000", "checkpoint/every=1000000000", "diagnostics/layers_every=0", *overrides]


@contextlib.contextmanager
def running(options, root, model, overrides, steps=1000000):
    """A run that has done its first steps and stands still."""
    with tempfile.TemporaryDirectory(prefix="isaribi-kfac-cost-") as folder:
        command = command_of(options, root, model, folder, steps, LINE.get(model, 1), overrides)
        run = kfac_pairs.Run(command, f"{folder}/run", options.threads)
        try:
            yield run
        finally:
            run.close()


def spread(values, digits=2):
    values = sorted(values)
    return f"{statistics.median(values):5.{digits}f} [{values[0]:.{digits}f} {values[-1]:.{digits}f}]"


def ratio_of(turns, column):
    """Time of a step of the second side over that of the first, over all turns."""
    return (sum(t["kfac"][column] for t in turns) / sum(t["kfac"][2] for t in turns)
            * sum(t["sgd"][2] for t in turns) / sum(t["sgd"][column] for t in turns))


def summary(turns, column):
    """The ratio over all turns [lowest highest of GROUPS groups of neighbours]."""
    cuts = [round(len(turns) * i / GROUPS) for i in range(GROUPS + 1)]
    groups = [ratio_of(turns[a:b], column) for a, b in zip(cuts, cuts[1:]) if b > a]
    return f"{ratio_of(turns, column):5.3f} [{min(groups):.2f} {max(groups):.2f}]"


def take_turns(runs, each, total):
    """Turns of `each` steps until `total`: [{kind: (wall, cpu, steps)}]."""
    turns = []
    while runs["kfac"].step + each <= total and not any(run.ended for run in runs.values()):
        order = ("sgd", "kfac") if len(turns) % 2 == 0 else ("kfac", "sgd")
        turns.append({kind: runs[kind].advance(each) for kind in order})
    return turns


def turns_of_pair(options, root, model, name):
    """Turns of a run of each side. Returns (turns, steps of a turn)."""
    kfac = [f"optimizer/kind={options.kind}", "optimizer/lr=0.01", *intervals_of(name)]
    adaptive = name == "adaptive"
    total = (options.steps or 1500) if adaptive else 1000000
    with running(options, root, model, ["optimizer/kind=sgd"], total) as sgd, \
            running(options, root, model, kfac, total) as second:
        runs = {"sgd": sgd, "kfac": second}
        warm = sgd.advance(WARM)
        if not adaptive:
            second.advance(WARM)
        each = EACH * max(1, int(-(-TURN // (warm[0] / warm[2] * EACH))))
        length = -(-(options.steps or TURNS * each) // (options.pairs * PERIOD[name])) * PERIOD[name]
        return take_turns(runs, each, total if adaptive else second.step + length), each


def measure_case(options, root, model, name):
    """Several pairs of runs, one after the other: those of the same program differ by a hundredth or two."""
    adaptive = name == "adaptive"
    pairs = [turns_of_pair(options, root, model, name) for _ in range(1 if adaptive else options.pairs)]
    turns, each = [turn for pair, _ in pairs for turn in pair], pairs[0][1]
    median = {kind: 1e3 * statistics.median(t[kind][0] / t[kind][2] for t in turns) for kind in ("sgd", "kfac")}

    def ratio(column):
        if adaptive:  # intervals start at 1: what they have grown to shows in the second half
            return f"{summary(turns, column)}  second half {summary(turns[len(turns) // 2:], column)}"
        return spread([ratio_of(pair, column) for pair, _ in pairs], 3)

    line = (f"{model:10s} {options.kind} {name:9s} sgd {median['sgd']:8.2f} ms  {options.kind} {median['kfac']:8.2f} ms"
            f"  ratio {ratio(0)}")
    if options.threads == 1:  # threads that wait for each other use the CPU, too
        line += f"  of CPU time {ratio(1)}"
    print(f"{line}  {len(turns)} turns of {each} steps", flush=True)


def step_times(options, root, model, steps, overrides):
    """[(step, seconds)] of a run of its own, without its first steps."""
    with tempfile.TemporaryDirectory(prefix="isaribi-kfac-cost-") as folder:
        done = subprocess.run(command_of(options, root, model, folder, steps, 1, overrides), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": str(options.threads)})
        if done.returncode != 0:
            sys.exit(f"kfac: {' '.join(done.args)} ended with exit {done.returncode}:\n{done.stderr}")
        rows = map(json.loads, pathlib.Path(folder, "run/metrics.jsonl").read_text(encoding="utf-8").splitlines())
        return [(row["step"], row["seconds"]) for row in rows if row["kind"] == "train" and row["step"] > WARM]


def measure_alone(options, root, model, name):
    """Steps by what they renew, each side in runs of its own, without what slows a step for a moment; the ratio weighs
    renewals by how often they are due. Runs of the same program differ by a hundredth or two: several of each."""
    factor, inverse = map(int, name.split("/"))
    kfac = [f"optimizer/kind={options.kind}", "optimizer/lr=0.01", *intervals_of(name)]
    steps = max(options.steps or 1000, WARM + PERIOD[name])  # with every renewal in it
    times = {"sgd": [], "plain": [], "factors": [], "inverses": []}
    for _ in range(options.pairs):
        times["sgd"] += [s for _, s in step_times(options, root, model, steps, ["optimizer/kind=sgd"])]
        for step, seconds in step_times(options, root, model, steps, kfac):
            due = [kind for kind, every in (("inverses", inverse), ("factors", factor), ("plain", 1)) if step % every == 1 % every]
            times[due[0]].append(seconds)
    usual = {kind: statistics.mean(sorted(t)[len(t) // 10:-(len(t) // 5) or None]) for kind, t in times.items() if t}
    count = {"inverses": 1 / inverse, "factors": 1 / factor - 1 / inverse, "plain": 1 - 1 / factor}
    mean = sum(share * usual[kind] for kind, share in count.items() if share > 0)
    print(f"{model:10s} {options.kind} {name:9s} " + "  ".join(f"{kind} {1e3 * t:.3f}" for kind, t in usual.items())
          + f" ms  ratio {mean / usual['sgd']:.3f}", flush=True)


class Peer:
    """A running kfac_peer.py."""

    def __init__(self, root, threads):
        command = [str(VENV / "bin/python"), "-W", "ignore", str(root / "tests/perf/kfac_peer.py"), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        self.name = self.reply()["name"]

    def reply(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("kfac: the peer ended; install it with tests/perf/peers and `pip install asdfghjkl` in its environment")
        return json.loads(line)

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        return self.reply()


def measure_peer(options, root, peer, model, name):
    kfac = [f"optimizer/kind={options.kind}", "optimizer/lr=0.01", *intervals_of(name)]
    factor, inverse = name.split("/")
    steps = options.peer_steps
    peer.ask("case", model, options.batch, factor, inverse)
    peer.ask("run", int(inverse))
    pairs = []
    with running(options, root, model, kfac) as run:
        run.advance(WARM)
        for i in range(options.pairs):
            theirs = peer.ask("run", steps) if i % 2 == 0 else None
            wall, cpu, done = run.advance(steps)
            theirs = theirs or peer.ask("run", steps)
            pairs.append((wall / done, theirs["seconds"] / steps, cpu / done, theirs["cpu"] / steps))
    mine, other = (1e3 * statistics.median(p[i] for p in pairs) for i in (0, 1))
    line = (f"{model:10s} {options.kind} {name:9s} ours {mine:8.2f} ms  peer {other:8.2f} ms"
            f"  peer / ours {spread([p[1] / p[0] for p in pairs])}")
    if options.threads == 1:
        line += "  of CPU time " + spread([p[3] / p[2] for p in pairs])
    print(line, flush=True)


def measure(options, root):
    options.batch = options.batch or 256
    if options.pairs < 1:
        sys.exit(f"kfac: --pairs {options.pairs}: at least one pair of runs is needed")
    if options.peer:
        peer = Peer(root, options.threads)
        print(f"# batch {options.batch}, {options.threads} thread(s); peer: {peer.name}, empirical Fisher; median [lowest"
              f" highest] of {options.pairs} pairs")
        for model in options.models:
            for name in options.intervals:
                if name != "adaptive":  # ASDL has no such rule
                    measure_peer(options, root, peer, model, name)
        return
    if options.alone:
        print(f"# batch {options.batch}, {options.threads} thread(s); {options.pairs} runs of each side, one after the other; means"
              " of steps by what they renew, without the fastest tenth and the slowest fifth")
        for model in options.models:
            for name in options.intervals:
                if name != "adaptive":  # which steps renew what is not known beforehand
                    measure_alone(options, root, model, name)
        return
    print(f"# batch {options.batch}, {options.threads} thread(s); ratio = {options.kind} / sgd: median [lowest highest] of"
          f" {options.pairs} pairs of runs; adaptive: over all turns of one pair [.. of {GROUPS} groups of them];"
          " A/B: factors every A, inverses every B steps; ms: median of turns")
    for model in options.models:
        for name in options.intervals:
            measure_case(options, root, model, name)
