#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""1, 2 and 4 ranks on the same deck: the same sample ids in every batch, losses within 1e-6; the same job twice: the same
bits. On Fashion-MNIST with the shipped decks when DATA is given, else on synthetic data."""
import argparse
import pathlib
import sys
import tempfile

import harness


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deck", help="a deck to use instead of the synthetic one")
    parser.add_argument("--model", choices=harness.MODELS, default="small", help="of the synthetic deck")
    parser.add_argument("--set", nargs="*", default=[], help="block/key=value of every run")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="isaribi-ranks-") as name:
        folder = pathlib.Path(name)
        if options.deck:
            deck = options.deck
        else:
            harness.make_data(folder)
            deck = harness.write_deck(folder, "deck", folder / "unused", folder, epochs=10, model=options.model)
        results = {}
        for label, ranks in (("1", 1), ("2", 2), ("4", 4), ("2 again", 2)):
            run = folder / f"run-{label.replace(' ', '-')}"
            code, output = harness.run(ranks, "train", deck, f"run/dir={run}", f"train/steps={options.steps}",
                                       f"train/log_every={options.steps}", "train/eval_every=1000000",
                                       "checkpoint/every=1000000", *options.set, timeout=1200)
            if code != 0:
                sys.exit(f"{label} ranks: exit {code}\n{output}")
            last = [r for r in harness.metrics(run) if r["kind"] == "train"][-1]
            results[label] = (last["loss"], harness.digest(harness.newest_checkpoint(run)), last["order"])
            print(f"{label:>8} ranks: loss of the last {options.steps} steps {results[label][0]!r}, "
                  f"digest {results[label][1][:16]}, order {str(results[label][2])[:16]}")
        want = results["1"][0]
        for label, (loss, _, order) in results.items():
            relative = abs(loss - want) / abs(want)
            good = relative <= 1e-6 and order == results["1"][2]
            print(f"{label:>8}: relative difference {relative:.2e}, order {'equal' if order == results['1'][2] else 'DIFFERS'}")
            failed |= not good
        if results["2"][1] != results["2 again"][1]:
            print("the same job twice gave different bits")
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
