#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our files as a stranger with h5py sees them: the documented schema, and values that add up."""
import pathlib
import sys
import tempfile

import harness

try:
    import h5py
    import numpy
except ImportError as missing:
    print(f"skipped: no {missing.name}")
    sys.exit(0)


def main():
    with tempfile.TemporaryDirectory(prefix="isaribi-h5py-") as name:
        folder = pathlib.Path(name)
        harness.make_data(folder)
        deck = harness.write_deck(folder, "deck", folder / "run", folder, epochs=1)
        code, output = harness.run(2, "train", deck)
        assert code == 0, output
        with h5py.File(folder / "train.h5", "r") as f:
            assert f.attrs["schema"] in ("isaribi-dataset", b"isaribi-dataset"), dict(f.attrs)
            assert f["images"].shape == (1000, 12, 12, 1) and f["images"].dtype == numpy.uint8
            assert f["labels"].shape == (1000,) and set(f["labels"][:]) == set(range(10))
            mean = f["images"][:].mean() / 255
            assert abs(float(numpy.ravel(f.attrs["mean"])[0]) - mean) < 1e-9
        with h5py.File(harness.newest_checkpoint(folder / "run"), "r") as f:
            assert f.attrs["schema"] in ("isaribi-checkpoint", b"isaribi-checkpoint")
            assert f["values"].attrs["progress/step"] == 20
            conv, linear = f["state/weights/conv1/weight"], f["state/weights/linear1/weight"]
            assert conv.shape == (8, 3, 3, 1) and conv.dtype == numpy.float32
            assert linear.shape == (10, 6 * 6 * 8)
            assert numpy.isfinite(conv[:]).all() and 0 < numpy.abs(conv[:]).max() < 10
            assert "version = 1" in str(f["notes"].attrs["deck"])
    print("the files are what the READMEs of io/data and io/checkpoint say")


if __name__ == "__main__":
    main()
