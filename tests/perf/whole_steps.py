# SPDX-License-Identifier: MIT
"""What tests/perf/bench does with whole training steps beside timing them: where the time goes, ranks against threads,
memory."""
import pathlib
import statistics
import subprocess

from ours import Ours, OursRanks

HERE = pathlib.Path(__file__).resolve().parent
MODELS = ("lenet5", "small_cnn", "resnet14", "autoencoder", "mlp4096")


def chosen(options):
    return [model for model in MODELS if options.match in f"model={model}"]


def profile(ours, model, batch):
    """Time, bytes and bound of each operation of a step, largest first; what is above its bound is what fusing could save."""
    ours.case("step", dict(model=model, n=batch))
    reply = ours.ask("profile 5")
    total = sum(op["seconds"] for op in reply["operations"].values())
    print(f"# {model}, batch {batch}: operations of one step, metered one by one: {total * 1e3:.2f} ms")
    print(f"  {'operation':28s} {'calls':>5s} {'ms':>8s} {'of step':>8s} {'MB':>8s} {'GB/s':>7s} {'GFLOP/s':>8s} {'of bound':>8s}")
    for name, op in sorted(reply["operations"].items(), key=lambda item: -item[1]["seconds"]):
        seconds = max(op["seconds"], 1e-12)
        print(f"  {name:28s} {op['calls']:5.0f} {seconds * 1e3:8.3f} {100 * seconds / total:6.1f} % {op['bytes'] * 1e-6:8.2f} "
              f"{op['bytes'] / seconds * 1e-9:7.1f} {op['flops'] / seconds * 1e-9:8.1f} {100 * op['bound'] / seconds:6.1f} %")
    print("  slowest layers: " + ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in
                                           list(reply["layers"].items())[:6]), flush=True)


def ranks(binary, options, environment, interleave):
    """2 ranks x 1 thread against 1 rank x 2 threads, the same global batch. ratio > 1: the ranks are faster."""
    one = Ours(binary, options.backend, dict(environment, OMP_NUM_THREADS="2"))
    two = OursRanks(binary, options.backend, dict(environment, OMP_NUM_THREADS="1"), 2)
    rows = []
    for model in chosen(options):
        a = dict(model=model, n=options.batch)
        for side in (one, two):
            side.case("step", a)
        times = interleave(two, one, options.pairs, options.seconds)
        ratios = sorted(t / r for r, t in zip(*times))
        rows.append({"backend": options.backend, "case": "ranks", "label": model, "shape": f"model={model} n={options.batch}",
                     "ours_s": statistics.median(times[0]), "peer": "1 rank x 2 threads",
                     "peer_s": statistics.median(times[1]), "ratio": statistics.median(ratios), "ratio_low": ratios[0],
                     "ratio_high": ratios[-1], "ratio_best": min(times[1]) / min(times[0])})
        print(f"ranks {model:14s} n={options.batch}  2 ranks x 1 thread {rows[-1]['ours_s'] * 1e3:9.3f} ms  1 rank x 2 threads "
              f"{rows[-1]['peer_s'] * 1e3:9.3f} ms  ratio {rows[-1]['ratio']:.2f} [{ratios[0]:.2f} {ratios[-1]:.2f}] "
              f"best {rows[-1]['ratio_best']:.2f}", flush=True)
    one.close()
    two.close()
    return rows


def memory(binary, options, environment, python, model="resnet14"):
    """Peak resident memory of a step, each side in a process of its own; then whether many steps make ours grow."""
    ours = Ours(binary, options.backend, environment)
    empty = ours.ask("repeat 0")["peak_kb"]
    ours.case("step", dict(model=model, n=options.batch))
    mine = ours.ask("repeat 5")["peak_kb"]
    ours.close()
    row = {"backend": options.backend, "case": "memory", "label": model, "shape": f"model={model} n={options.batch}",
           "ours_kb": mine, "peer": "", "peer_kb": "", "ratio": ""}
    print(f"memory {model} n={options.batch}: ours {mine / 1024:.0f} MiB peak resident ({empty / 1024:.0f} before the step)")
    if not options.no_peer and python.exists():
        done = subprocess.run([str(python), str(HERE / "peer_torch.py"), model, str(options.batch), str(options.threads)],
                              env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"# peer missing: PyTorch ({done.stderr.strip().splitlines()[-1]})")
        else:
            before, peak = (float(word) for word in done.stdout.split())
            row.update(peer="PyTorch eager", peer_kb=peak, ratio=mine / peak)
            print(f"memory {model} n={options.batch}: PyTorch {peak / 1024:.0f} MiB peak resident ({before / 1024:.0f} before "
                  f"the step); ours / PyTorch {mine / peak:.2f}, without what is there before {(mine - empty) / (peak - before):.2f}",
                  flush=True)
    grown = growth(binary, options, environment, model)
    row["growth_kb"] = grown
    return [row]


def growth(binary, options, environment, model, batch=4):
    """KiB that the resident memory grows from the first tenth of `options.steps` small steps to the last."""
    ours = Ours(binary, options.backend, environment)
    ours.case("step", dict(model=model, n=batch))
    tenth = max(1, options.steps // 10)
    resident = [ours.ask(f"repeat {tenth}")["resident_kb"] for _ in range(10)]
    ours.close()
    grown = resident[-1] - resident[0]
    print(f"memory {model} n={batch}: {10 * tenth} steps, resident {resident[0] / 1024:.1f} MiB after the first tenth, "
          f"{resident[-1] / 1024:.1f} after the last: {grown:+.0f} KiB", flush=True)
    return grown
