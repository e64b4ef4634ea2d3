# SPDX-License-Identifier: MIT
"""The cost of second-order steps, for tests/perf/kfac: runs of `isaribi train` that take turns, on real samples. The first
lines of metrics.jsonl are left out (warm-up), and as many steps are counted as hold every renewal once or more. With --peer
the other side is K-FAC of ASDL: kfac_peer.py."""
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

WARM = 10  # steps left out; also the steps per line
VENV = pathlib.Path(os.environ.get("ISARIBI_PEERS", pathlib.Path.home() / ".cache/isaribi/peers"))
PERIOD = {"1/10": 10, "10/10": 10, "10/100": 100, "adaptive": 300}  # steps that hold every renewal


def add_options(parser):
    parser.add_argument("--models", nargs="+", default=["lenet5", "small_cnn", "resnet14"], help="cost: presets")
    parser.add_argument("--intervals", nargs="+", choices=list(PERIOD), default=["1/10", "10/100", "adaptive"],
                        help="cost: steps between factors / between inverses")
    parser.add_argument("--batch", type=int, default=256, help="cost")
    parser.add_argument("--pairs", type=int, default=5, help="cost")
    parser.add_argument("--steps", type=int, default=100, help="cost: per run, rounded up to whole periods of the renewals")
    parser.add_argument("--kind", default="kfac", help="cost: optimizer/kind")
    parser.add_argument("--peer", action="store_true", help="cost: against ASDL (tests/perf/peers, then pip install asdfghjkl)")
    parser.add_argument("--peer-steps", type=int, default=20, help="cost: steps per timing of the peer")


def intervals_of(name):
    if name == "adaptive":
        return ["kfac/refresh=adaptive"]
    factor, inverse = name.split("/")
    return [f"kfac/factor_every={factor}", f"kfac/inverse_every={inverse}"]


def timed(options, root, model, overrides, steps):
    """(seconds of each line after the warm-up, CPU seconds of the whole process) of one run."""
    with tempfile.TemporaryDirectory(prefix="isaribi-kfac-cost-") as folder:
        command = [str(options.program), "--quiet", "train", str(root / "inputs/fashion_mnist/lenet_sgd.toml"),
                   f"run/dir={folder}/run", f"run/threads={options.threads}", f"model/preset={model}",
                   f"data/batch={options.batch}", f"train/steps={WARM + steps}", f"train/log_every={WARM}",
                   "train/eval_every=1000000000", "checkpoint/every=1000000000", "diagnostics/layers_every=0", *overrides]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
                              capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(f"kfac: {' '.join(command)} ended with exit {done.returncode}:\n{done.stderr}")
        with open(f"{folder}/run/metrics.jsonl", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    seconds = [row["seconds"] for row in rows if row["kind"] == "train"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds[1:], cpu


def spread(values):
    values = sorted(values)
    return f"{statistics.median(values):5.2f} [{values[0]:.2f} {values[-1]:.2f}]"


def measure_case(options, root, model, name):
    kinds = {"sgd": ["optimizer/kind=sgd"],
             "kfac": [f"optimizer/kind={options.kind}", "optimizer/lr=0.01", *intervals_of(name)]}
    steps = -(-options.steps // PERIOD[name]) * PERIOD[name]
    start = {kind: timed(options, root, model, overrides, 0)[1] for kind, overrides in kinds.items()}
    wall, cpu, later = ({"sgd": [], "kfac": []} for _ in range(3))
    for i in range(options.pairs):
        for kind in (("sgd", "kfac"), ("kfac", "sgd"))[i % 2]:
            seconds, used = timed(options, root, model, kinds[kind], steps)
            wall[kind].append(sum(seconds) / steps)
            later[kind].append(sum(seconds[len(seconds) // 2:]))
            cpu[kind].append((used - start[kind]) / steps)
    ratio = spread([k / s for s, k in zip(wall["sgd"], wall["kfac"])])
    if name == "adaptive":  # intervals start at 1: what they have grown to shows in the second half
        ratio += "  second half " + spread([k / s for s, k in zip(later["sgd"], later["kfac"])])
    line = (f"{model:10s} {options.kind} {name:9s} sgd {1e3 * statistics.median(wall['sgd']):8.2f} ms"
            f"  {options.kind} {1e3 * statistics.median(wall['kfac']):8.2f} ms  ratio {ratio}")
    if options.threads == 1:  # threads that wait for each other use the CPU, too
        line += "  of CPU time " + spread([k / s for s, k in zip(cpu["sgd"], cpu["kfac"])])
    print(line, flush=True)


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
    ours = [f"optimizer/kind={options.kind}", "optimizer/lr=0.01", *intervals_of(name)]
    factor, inverse = name.split("/")
    steps = options.peer_steps
    peer.ask("case", model, options.batch, factor, inverse)
    peer.ask("run", int(inverse))
    start = timed(options, root, model, ours, 0)[1]
    pairs = []
    for i in range(options.pairs):
        theirs = peer.ask("run", steps) if i % 2 == 0 else None
        seconds, cpu = timed(options, root, model, ours, steps)
        theirs = theirs or peer.ask("run", steps)
        pairs.append((sum(seconds) / steps, theirs["seconds"] / steps, (cpu - start) / steps, theirs["cpu"] / steps))
    mine, other = (1e3 * statistics.median(p[i] for p in pairs) for i in (0, 1))
    line = (f"{model:10s} {options.kind} {name:9s} ours {mine:8.2f} ms  peer {other:8.2f} ms"
            f"  peer / ours {spread([p[1] / p[0] for p in pairs])}")
    if options.threads == 1:
        line += "  of CPU time " + spread([p[3] / p[2] for p in pairs])
    print(line, flush=True)


def measure(options, root):
    if options.peer:
        peer = Peer(root, options.threads)
        print(f"# batch {options.batch}, {options.threads} thread(s); peer: {peer.name}, empirical Fisher; median [lowest"
              f" highest] of {options.pairs} pairs")
        for model in options.models:
            for name in options.intervals:
                if name != "adaptive":  # ASDL has no such rule
                    measure_peer(options, root, peer, model, name)
        return
    print(f"# batch {options.batch}, {options.threads} thread(s); ratio = {options.kind} / sgd, median [lowest highest] of "
          f"{options.pairs} pairs; A/B: factors every A, inverses every B steps")
    for model in options.models:
        for name in options.intervals:
            measure_case(options, root, model, name)
