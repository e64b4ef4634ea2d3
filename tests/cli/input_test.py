#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bad data, bad files and bad places: exit 3, one message, nothing lost and nothing half-written, on 1 and on 2 ranks."""
import os
import pathlib
import shutil
import struct
import subprocess
import unittest

import harness


def patch(path, out, old, new):
    """A copy of `path` with the first `old` replaced by `new` of the same length."""
    data = path.read_bytes()
    assert len(old) == len(new) and data.count(old) >= 1
    out.write_bytes(data.replace(old, new, 1))
    return out


class Mount:
    """A small or read-only file system, where we may make one."""

    def __init__(self, path, options):
        self.path = pathlib.Path(path)
        self.path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)], capture_output=True, check=False)
        self.mounted = done.returncode == 0

    def remount(self, options):
        return subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], capture_output=True, check=False).returncode == 0

    def close(self):
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.path)], check=False)


class Data(harness.CliTest):
    def test_files_that_are_no_data_set(self):
        garbage = self.folder / "garbage.h5"
        garbage.write_bytes(b"not at all" * 1000)
        short = self.folder / "short.h5"
        short.write_bytes(self.train.read_bytes()[:5000])
        empty = self.folder / "empty.h5"
        empty.write_bytes(b"")
        self.assert_fine(harness.run(0, "train", self.deck("good.toml", run="good"), "train/steps=1"))
        checkpoint = next((self.folder / "good" / "checkpoints").glob("step-*.h5"))
        newer = patch(self.train, self.folder / "newer.h5", b"isaribi-dataset", b"isaribi-dataser")
        cases = {"garbage": garbage, "truncated": short, "empty": empty, "a checkpoint": checkpoint, "another schema": newer,
                 "missing": self.folder / "missing.h5", "a folder": self.folder}
        for name, path in cases.items():
            for ranks in (0, 2):
                for key in ("train", "test"):
                    with self.subTest(case=name, ranks=ranks, key=key):
                        deck = self.deck("bad.toml", run="never", **{key: path})
                        self.assert_refused(harness.run(ranks, "train", deck), 3, str(path))
                        self.assertFalse((self.folder / "never").exists())

    def test_sets_that_do_not_belong_together(self):
        small = harness.make_set(self.folder, "wide", 40, 3, size=14)
        for ranks in (0, 2):
            deck = self.deck("bad.toml", run="never", test=small)
            self.assert_refused(harness.run(ranks, "train", deck), 2, "data/test", "[14, 14, 1]", "[12, 12, 1]")

    def test_label_out_of_range(self):
        _, labels = harness.sample_images(120, 1)
        raw = struct.pack("<20i", *labels[:20])
        wrong = struct.pack("<20i", *labels[:19], 77)
        bad = patch(self.train, self.folder / "label.h5", raw, wrong)
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                deck = self.deck("label.toml", run=f"label{ranks}", train=bad)
                self.assert_refused(harness.run(ranks, "train", deck), 3, "label.h5", "77")

    def test_nan_in_data(self):
        """Float images; the converter refuses NaN, and so does the reader of a file that was changed later."""
        marker = 0.123456
        values = [((i * 37) % 100) / 100 for i in range(120 * 144)]
        values[5000] = marker
        _, labels = harness.sample_images(120, 1)
        head = struct.pack(">IIII", 0xD03, 120, 12, 12)
        images, label_file = self.folder / "float-images", self.folder / "float-labels"
        label_file.write_bytes(harness.idx_labels(labels))
        images.write_bytes(head + struct.pack(f">{len(values)}f", *values))
        good = self.folder / "float.h5"
        self.assert_fine(harness.run(0, "convert", "idx", "--images", images, "--labels", label_file, "--output", good))
        bad = patch(good, self.folder / "nan.h5", struct.pack("<f", marker), struct.pack("<f", float("nan")))
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                deck = self.deck("nan.toml", run=f"nan{ranks}", train=bad, test=good)
                self.assert_refused(harness.run(ranks, "train", deck), 3, "nan.h5")
        values[5000] = float("nan")
        images.write_bytes(head + struct.pack(f">{len(values)}f", *values))
        out = self.folder / "never.h5"
        self.assert_refused(harness.run(0, "convert", "idx", "--images", images, "--labels", label_file, "--output", out), 3)
        self.assertFalse(out.exists())

    def test_wrong_idx(self):
        images, labels = harness.sample_images(20, 1)
        good_images, good_labels = harness.idx_images(images, 12, 12), harness.idx_labels(labels)
        cases = {
            "truncated images": (good_images[:-10], good_labels),
            "more than it says": (good_images + b"more", good_labels),
            "magic of labels": (good_labels, good_labels),
            "no IDX at all": (b"hello", good_labels),
            "empty": (b"", good_labels),
            "fewer labels": (good_images, harness.idx_labels(labels[:-1])),
            "absurd count": (harness.idx_images(images, 12, 12, count=2**31), good_labels),
            "damaged gzip": (b"\x1f\x8b\x08\x00" + b"\x00" * 40, good_labels),
        }
        for name, (image_bytes, label_bytes) in cases.items():
            for ranks in (0, 2):
                with self.subTest(case=name, ranks=ranks):
                    (self.folder / "bad-images").write_bytes(image_bytes)
                    (self.folder / "bad-labels").write_bytes(label_bytes)
                    out = self.folder / "bad.h5"
                    self.assert_refused(harness.run(ranks, "convert", "idx", "--images", self.folder / "bad-images", "--labels",
                                                    self.folder / "bad-labels", "--output", out), 3, "bad-")
                    self.assertEqual([p.name for p in self.folder.glob("bad.h5*")], [])
        self.assert_refused(harness.run(2, "convert", "idx", "--images", self.folder / "none", "--output", self.folder / "x.h5"), 3, "none")
        self.assert_refused(harness.run(2, "convert", "idx", self.folder / "absent", "--output", self.folder / "x"), 3, "absent")
        self.assert_refused(harness.run(0, "inspect", self.folder / "bad-images"), 3, "bad-images")

    def test_batch_need_not_be_divisible_by_ranks(self):
        for ranks in (2, 3):
            deck = self.deck("odd.toml", self.deck_text(run=f"odd{ranks}").replace("batch = 32", "batch = 31"))
            self.assert_fine(harness.run(ranks, "train", deck))
        deck = self.deck("one.toml", self.deck_text(run="one").replace("batch = 32", "batch = 1"))
        self.assert_fine(harness.run(2, "train", deck, "train/steps=3"))

    def test_divergence_is_a_numerical_failure(self):
        for ranks in (0, 2):
            deck = self.deck("wild.toml", run=f"wild{ranks}")
            result = harness.run(ranks, "train", deck, "optimizer/lr=1e30", "train/epochs=5")
            self.assert_refused(result, 4, "step", "hint")
            self.assertIn('"failed"', (self.folder / f"wild{ranks}" / "status.json").read_text())


class Places(harness.CliTest):
    def setUp(self):
        self.mounts = []

    def tearDown(self):
        for mount in self.mounts:
            mount.close()

    def mount(self, name, options):
        path = self.folder / name
        if path.exists():
            shutil.rmtree(path)
        mount = Mount(path, options)
        self.mounts.append(mount)
        if not mount.mounted:
            self.skipTest("needs the right to mount a tmpfs")
        return mount

    def test_full_disk(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                disk = self.mount(f"small{ranks}", "size=4m")
                deck = self.deck("full.toml", run=disk.path / "run")
                # The first checkpoints fit; then somebody else fills the disk.
                self.assert_fine(harness.run(ranks, "train", deck, "train/steps=1"))
                before = {p: p.read_bytes() for p in (disk.path / "run" / "checkpoints").glob("step-*.h5")}
                try:
                    (disk.path / "filler").write_bytes(bytes(4 * 1024 * 1024))
                except OSError:
                    pass
                self.assert_refused(harness.run(ranks, "train", deck), 3, str(disk.path))
                after = {p: p.read_bytes() for p in (disk.path / "run" / "checkpoints").iterdir() if p.name != "latest"}
                self.assertEqual(before, after)
                (disk.path / "filler").unlink()
                self.assert_fine(harness.run(ranks, "train", deck))

    def test_full_disk_while_converting(self):
        disk = self.mount("tiny", "size=16k")
        out = disk.path / "out.h5"
        self.assert_refused(harness.run(0, "convert", "idx", "--images", self.folder / "train-images", "--labels",
                                        self.folder / "train-labels", "--output", out), 3, "out.h5")
        self.assertEqual(list(disk.path.iterdir()), [])

    def test_read_only_folder(self):
        if os.geteuid() == 0:
            disk = self.mount("readonly", "size=1m")
            folder = disk.path
            if not disk.remount("ro"):
                self.skipTest("needs the right to remount a tmpfs read-only")
        else:
            folder = self.folder / "readonly"
            folder.mkdir(mode=0o500)
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                deck = self.deck("ro.toml", run=folder / "run")
                self.assert_refused(harness.run(ranks, "train", deck), 3, str(folder), "run/dir")
        self.assert_refused(harness.run(0, "convert", "idx", "--images", self.folder / "train-images", "--output", folder / "x.h5"), 3,
                            "x.h5")

    def test_run_folder_is_a_file(self):
        (self.folder / "occupied").write_text("mine")
        for ranks in (0, 2):
            deck = self.deck("file.toml", run="occupied")
            self.assert_refused(harness.run(ranks, "train", deck), 3, "occupied")
        self.assertEqual((self.folder / "occupied").read_text(), "mine")

    def test_missing_checkpoints(self):
        deck = self.deck("fresh.toml", run="fresh")
        for ranks in (0, 2):
            self.assert_refused(harness.run(ranks, "train", deck, "--resume"), 3, "fresh", "--resume")
            self.assert_refused(harness.run(ranks, "evaluate", self.folder / "absent"), 3, "absent")
            self.assert_refused(harness.run(ranks, "evaluate", self.folder), 3, "no checkpoint")
            self.assert_refused(harness.run(ranks, "evaluate", self.train), 3, "train.h5")
            self.assert_refused(harness.run(ranks, "report", self.folder), 3, "metrics.jsonl")


if __name__ == "__main__":
    unittest.main()
