#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""K-FAC over ranks: every placement gives the same bits in the deterministic mode; a run goes on on another number of ranks;
the dump of a step says what NumPy says; a diverging run ends with exit 4 and its checkpoint."""
import pathlib
import sys
import tempfile

import harness

KFAC = ["optimizer/kind=kfac", "kfac/damping=0.05", "kfac/factor_every=2", "kfac/inverse_every=3", "comm/allreduce=rank_order"]
failures = []


def expect(good, what):
    print(("ok   " if good else "FAIL ") + what)
    if not good:
        failures.append(what)


def train(ranks, deck, run, *extra):
    code, output = harness.run(ranks, "train", deck, f"run/dir={run}", "train/eval_every=1000000", "train/log_every=1",
                               "checkpoint/every=1000000", *KFAC, *extra)
    return code, output


def placements(folder, deck):
    for ranks in (2, 4):
        digests = {}
        for placement in ("mpd", "comm_opt", "mem_opt", "hybrid"):
            run = folder / f"{placement}-{ranks}"
            code, output = train(ranks, deck, run, "train/steps=8", f"kfac/placement={placement}")
            if code != 0:
                sys.exit(f"{placement} on {ranks} ranks: exit {code}\n{output}")
            digests[placement] = harness.digest(harness.newest_checkpoint(run))
        expect(len(set(digests.values())) == 1, f"{ranks} ranks: the same bits in every placement {digests}")
        bytes_of = {p: sum(r["bytes_factors"] for r in harness.metrics(folder / f"{p}-{ranks}") if r["kind"] == "curvature")
                    for p in digests}
        expect(len(set(bytes_of.values())) == 1, f"{ranks} ranks: factors cost the same bytes in all of them")


def own_samples(folder, deck):
    run = folder / "dp"
    code, output = train(2, deck, run, "train/steps=8", "kfac/placement=dp")
    expect(code == 0, "dp runs" + ("" if code == 0 else "\n" + output))
    sent = [r["bytes_factors"] for r in harness.metrics(run) if r["kind"] == "curvature"]
    expect(len(sent) == 8 and sum(sent) == 0, "dp sends no factors")
    expect(harness.digest(harness.newest_checkpoint(run)) != harness.digest(harness.newest_checkpoint(folder / "mpd-2")),
           "dp, whose factors are those of half of the samples, takes other steps")


def other_ranks(folder, deck):
    whole = folder / "whole"
    train(1, deck, whole, "train/steps=12")
    want = [r["loss"] for r in harness.metrics(whole) if r["kind"] == "train"]
    run = folder / "moved"
    for ranks, steps, placement in ((1, 2, "mpd"), (2, 4, "comm_opt"), (3, 7, "mpd"), (4, 10, "hybrid"), (1, 12, "mem_opt")):
        code, output = train(ranks, deck, run, f"train/steps={steps}", f"kfac/placement={placement}")
        expect(code == 0, f"went on on {ranks} ranks, {placement}, to step {steps}" + ("" if code == 0 else "\n" + output))
    got = [r["loss"] for r in harness.metrics(run) if r["kind"] == "train"]
    worst = max(abs(a - b) / abs(b) for a, b in zip(got, want))
    expect(len(got) == 12 and worst <= 1e-6, f"losses of 1 -> 2 -> 3 -> 4 -> 1 ranks within 1e-6 of one rank's: {worst:.1e}")


def model_steps(folder, deck):
    """Steps that the quadratic model chooses: the same bits after a restart, and close ones on other ranks although its finite
    difference divides the last bits of the outputs by 1e-2."""
    rule = ["kfac/step_rule=quadratic_model", "kfac/damping_schedule=levenberg_marquardt", "optimizer/lr=0.5", "kfac/kl_clip=0.01"]
    digests, losses = {}, {}
    for name, ranks, stops in (("straight", 2, (8,)), ("stopped", 2, (3, 8)), ("one", 1, (8,)), ("moved", 1, (3,)), ("moved", 3, (8,))):
        run = folder / f"model-{name}"
        for steps in stops:
            code, output = train(ranks, deck, run, f"train/steps={steps}", *rule)
            expect(code == 0, f"model, {name}: {ranks} ranks to step {steps}" + ("" if code == 0 else "\n" + output))
        digests[name] = harness.digest(harness.newest_checkpoint(run))
        losses[name] = [r["loss"] for r in harness.metrics(run) if r["kind"] == "train"]
    expect(digests["stopped"] == digests["straight"], "model: a restart gives the same bits")
    momenta = [r["model_momentum"] for r in harness.metrics(folder / "model-one") if r["kind"] == "curvature"]
    expect(momenta[0] == 0 and all(m != 0 for m in momenta[1:]), f"model: the momentum is chosen, from the second step on {momenta}")
    for name in ("straight", "moved"):
        worst = max(abs(a - b) / abs(b) for a, b in zip(losses[name], losses["one"]))
        expect(len(losses[name]) == 8 and worst <= 1e-6, f"model, {name}: losses within 1e-6 of one rank's: {worst:.1e}")


def dump(folder, deck):
    try:
        import h5py
        import numpy
    except ImportError as error:
        print(f"skipped: {error}")
        return
    run = folder / "dump"
    train(2, deck, run, "train/steps=4", "diagnostics/dump_steps=[0, 3]", "kfac/inverse_every=1", "kfac/factor_every=1")
    for step in (0, 3):
        with h5py.File(run / "diagnostics" / f"step_{step:08d}.h5") as file:
            expect(file["sample_ids"].shape == (50,) and file["inputs"].shape[0] == 50, f"step {step}: 50 samples")
            for name, layer in file["layers"].items():
                gradient, direction, lam = layer["gradient"][()], layer["direction"][()], layer.attrs["damping"]
                if "fisher" in layer:
                    f = layer["fisher"][()]
                    wanted = numpy.stack([numpy.linalg.solve([[f[0, c] + lam, f[1, c]], [f[1, c], f[2, c] + lam]],
                                                             gradient[:, c]) for c in range(f.shape[1])], 1)
                else:
                    a, g = layer["A"][0], layer["G"][0]
                    pi = numpy.sqrt(numpy.trace(a) / len(a) / (numpy.trace(g) / len(g)))
                    wanted = numpy.linalg.solve(g + lam ** 0.5 / pi * numpy.eye(len(g)), gradient)
                    wanted = numpy.linalg.solve(a + lam ** 0.5 * pi * numpy.eye(len(a)), wanted.T).T
                error = numpy.linalg.norm(direction - wanted) / numpy.linalg.norm(wanted)
                expect(error < 2e-5, f"step {step}, {name}: direction within {error:.1e} of NumPy's")


def divergence(folder, deck):
    run = folder / "diverging"
    train(2, deck, run, "train/steps=2")
    code, output = train(2, deck, run, "train/steps=40", "optimizer/lr=1e30", "kfac/kl_clip=0", "schedule/warmup_epochs=0",
                         "kfac/max_refusals=2")
    expect(code == 4, f"a diverging run ends with exit 4, not {code}")
    expect(output.count("was refused") >= 3, "every refusal is told")
    expect(harness.newest_checkpoint(run).name.endswith("02.h5"), "the last good checkpoint is kept")


def main():
    with tempfile.TemporaryDirectory(prefix="isaribi-kfac-") as name:
        folder = pathlib.Path(name)
        harness.make_data(folder)
        deck = harness.write_deck(folder, "deck", folder / "unused", folder, epochs=10)
        placements(folder, deck)
        own_samples(folder, deck)
        other_ranks(folder, deck)
        model_steps(folder, deck)
        dump(folder, deck)
        divergence(folder, deck)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
