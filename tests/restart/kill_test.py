#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 of a random rank at random moments, then restart: the final state must equal that of a run nobody disturbed."""
import argparse
import pathlib
import random
import sys
import tempfile
import time

import harness


def losses(lines):
    return [line["loss"] for line in lines if "loss" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="block/key=value of every run")
    parser.add_argument("--model", choices=harness.MODELS, default="small")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    print(f"{options.kills} kills on {options.ranks} ranks, moments from seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="isaribi-kill-") as name:
        folder = pathlib.Path(name)
        harness.make_data(folder)
        calm = harness.write_deck(folder, "calm", folder / "calm", folder, epochs=20, model=options.model)
        start = time.time()
        code, output = harness.run(options.ranks, "train", calm, *options.set)
        whole = time.time() - start
        if code != 0:
            sys.exit(f"the undisturbed run failed with {code}:\n{output}")
        want = harness.digest(harness.newest_checkpoint(folder / "calm"))
        want_lines = [r for r in harness.metrics(folder / "calm")]
        print(f"undisturbed: {whole:.1f} s, digest {want[:16]}")
        equal = hits = trial = stuck = 0
        while hits < options.kills and trial < 4 * options.kills:
            trial += 1
            run = folder / f"run{trial}"
            deck = harness.write_deck(folder, f"deck{trial}", run, folder, epochs=20, model=options.model)
            job = harness.launch(options.ranks, "train", deck, *options.set)
            hit = harness.kill_a_rank(job, rng, rng.uniform(0, whole))
            stuck += not harness.wait_for_ranks(job)
            if stuck > 1:
                sys.exit("the launcher was stuck twice: that is not chance")
            if not hit:
                continue  # the run was over before the blow: not a kill
            hits += 1
            leftovers = sorted(p.name for p in (run / "checkpoints").glob("step-*.h5")) if run.exists() else []
            code, output = harness.run(options.ranks, "train", deck, *options.set)
            if code != 0:
                print(f"kill {hits}: restart failed with {code}:\n{output}")
                continue
            got = harness.digest(harness.newest_checkpoint(run))
            same_lines = losses(harness.metrics(run)) == losses(want_lines)
            equal += got == want and same_lines
            origin = leftovers[-1] if leftovers else "the beginning"
            print(f"kill {hits}: went on from {origin}, digest {'equal' if got == want else 'DIFFERS'}, "
                  f"metrics {'equal' if same_lines else 'DIFFER'}")
        print(f"{equal} of {hits} restarts equal the undisturbed run")
        sys.exit(0 if hits == options.kills and equal == hits else 1)


if __name__ == "__main__":
    main()
