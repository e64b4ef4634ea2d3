#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Malformed decks and overrides: each ends with exit 2, one message with place and hint, and leaves no run folder. Each is
run without a launcher and on 2 ranks."""
import re
import shutil
import unittest

import harness


def change(old, new):
    def apply(text):
        assert old in text, old
        return text.replace(old, new, 1)
    return apply


def append(more):
    return lambda text: text + more


def block(name, line):
    """Adds a line to a block that the deck has."""
    return change(f"[{name}]\n", f"[{name}]\n{line}\n")


def line_of(text, fragment):
    return text[:text.index(fragment)].count("\n") + 1


# name: (change of the deck, text on the line that the message must name ("" for none), fragments of the message)
DECKS = {
    "unknown key": (block("optimizer", "learning_rat = 0.1"), "learning_rat", ["optimizer/learning_rat", "unknown key"]),
    "misspelt key": (change("batch = 32", "bacth = 32"), "bacth", ["data/bacth", "did you mean data/batch"]),
    "unknown block": (change("[optimizer]", "[optimiser]"), "[optimiser]", ["[optimiser]", "did you mean [optimizer]"]),
    "key in the wrong block": (block("train", "momentum = 0.9"), "momentum", ["train/momentum", "optimizer/momentum"]),
    "key outside of a block": (change("version = 1\n", "version = 1\nbatch = 3\n"), "batch = 3", ["unknown", "data/batch"]),
    "text for a number": (change("batch = 32", 'batch = "32"'), 'batch = "32"', ["data/batch", "whole number", '"32"']),
    "number for a text": (change('backend = "reference"', "backend = 3"), "backend = 3", ["run/backend", "a text"]),
    "fraction for a whole number": (change("batch = 32", "batch = 32.5"), "batch = 32.5", ["data/batch", "whole number", "32.5"]),
    "number for a switch": (block("data", "shuffle = 1"), "shuffle = 1", ["data/shuffle", "true or false"]),
    "list with a text": (append('[schedule]\nmilestones = [10, "a"]\n'), "milestones", ["schedule/milestones", '"a"']),
    "date for a number": (change("lr = 0.05", "lr = 2020-01-01"), "lr = 2020", ["optimizer/lr", "date"]),
    "block for a value": (append("[optimizer.lr]\nx = 1\n"), "[optimizer.lr]", ["optimizer"]),
    "value for a block": (change("version = 1\n", "version = 1\naverage = 3\n"), "average = 3", ["average", "block"]),
    "negative batch": (change("batch = 32", "batch = -32"), "batch = -32", ["data/batch = -32", "out of range", "from 1"]),
    "zero learning rate": (change("lr = 0.05", "lr = 0"), "lr = 0", ["optimizer/lr", "out of range", "above 0"]),
    "infinite learning rate": (change("lr = 0.05", "lr = inf"), "lr = inf", ["optimizer/lr", "out of range"]),
    "not a number": (change("lr = 0.05", "lr = nan"), "lr = nan", ["optimizer/lr", "out of range"]),
    "probability above one": (append("[data.augment]\nerase = 1.5\n"), "erase", ["data/augment/erase", "from 0 to 1"]),
    "unknown choice": (block("optimizer", 'kind = "sdg"'), "sdg", ["optimizer/kind", 'did you mean "sgd"', "adamw"]),
    "unknown preset": (change("outputs = 10", 'preset = "resnet9"'), "resnet9", ["model/preset", "resnet8"]),
    "unknown allreduce": (append('[comm]\nallreduce = "rings"\n'), "rings", ["comm/allreduce", "mpi"]),
    "wire of the library": (append('[comm]\nwire = "bf16"\n'), "wire", ["comm/wire", "comm/allreduce", "auto"]),
    "error feedback of nothing": (append("[comm]\nerror_feedback = true\n"), "error_feedback", ["comm/error_feedback", 'comm/wire = "same"', "bf16"]),
    "error feedback of f32": (change("[train]", '[comm]\nallreduce = "auto"\nwire = "f32"\nerror_feedback = true\n[train]\ngradient_type = "f32"'),
                              "error_feedback", ["comm/error_feedback", 'gradient_type = "f32"']),
    "unknown progress": (append('[comm]\nprogress = "threads"\n'), "threads", ["comm/progress", 'did you mean "thread"', "calls"]),
    "unknown Fisher": (append('[kfac]\nfisher = "exakt"\n'), "exakt", ["kfac/fisher", 'did you mean "exact"']),
    "no damping": (append("[kfac]\ndamping = 0\n"), "damping = 0", ["kfac/damping", "out of range", "above 0"]),
    "newer version": (change("version = 1", "version = 2\nsomething_new = 3"), "version = 2", ["version 2", "newer isaribi"]),
    "not TOML": (change("batch = 32", "batch = = 32"), "batch = = 32", ["not TOML"]),
    "text without quotes": (change('backend = "reference"', "backend = reference"), "backend = reference", ["not TOML", "quotes"]),
    "key given twice": (change("batch = 32", "batch = 32\nbatch = 64"), "batch = 64", ["not TOML", "batch"]),
    "no model": (lambda text: text[:text.index("[[layer]]")], "", ["model/preset", "[[layer]]"]),
    "preset and layers": (change("outputs = 10", 'preset = "lenet5"'), "lenet5", ["model/preset", "[[layer]]"]),
    "unknown layer kind": (change('kind = "relu"', 'kind = "rellu"'), "", ["unknown layer kind 'rellu'", "relu"]),
    "layer without kind": (append("[[layer]]\nchannels = 3\n"), "[[layer]]\nchannels = 3", ["no kind"]),
    "unknown option of a layer": (change("channels = 4", "chanels = 4"), "", ["conv1", "channels"]),
    "layer with single brackets": (lambda t: t[:t.index("[[layer]]")] + '[layer]\nkind = "relu"\n', "[layer]", ["[[layer]]"]),
    "kernel larger than the image": (change("kernel = 3", "kernel = 30"), "", ["conv1", "hint"]),
    "input that does not exist": (append('[[layer]]\nkind = "add"\ninputs = ["output", "nobody"]\n'), "", ["nobody"]),
    "branches that do not fit": (append('[[layer]]\nkind = "add"\ninputs = ["output", "conv1"]\n'), "", ["expected", "hint"]),
    "two layers of one name": (append('[[layer]]\nkind = "relu"\nname = "conv1"\n'), "", ["conv1"]),
    "fewer outputs than classes": (change("features = 10", "features = 7"), "", ["7", "10"]),
    "no training set": (lambda t: re.sub(r"\ntrain = .*", "", t), "", ["data/train", "not set"]),
    "warm-up longer than training": (append("[schedule]\nwarmup_epochs = 5\n"), "warmup_epochs", ["warmup_epochs", "train/epochs"]),
    "parts that do not divide the batch": (block("train", "micro_batches = 5"), "micro_batches", ["train/micro_batches", "data/batch"]),
    "batch larger than the set": (change("batch = 32", "batch = 1000"), "batch = 1000", ["data/batch", "120"]),
    "unknown backend": (change('backend = "reference"', 'backend = "referense"'), "", ["referense", "reference"]),
    "smoothing of a loss that has none": (block("train", 'loss = "mean_squared_error"\nlabel_smoothing = 0.1'), "label_smoothing", ["train/label_smoothing"]),
}

# name: (ranks, overrides that exclude each other, fragments of the message)
COMBINATIONS = {
    "norm clip": (2, ["optimizer/kind=kfac", "optimizer/clip_norm=1"], ["optimizer/clip_norm", "kfac/kl_clip"]),
    "damping bounds": (0, ["optimizer/kind=kfac", "kfac/damping_min=1", "kfac/damping_max=0.1"], ["kfac/damping_min = 1", "kfac/damping_max"]),
    "trial of a part": (0, ["optimizer/kind=kfac", "train/micro_batches=2", "kfac/damping_schedule=levenberg_marquardt"],
                        ["kfac/damping_schedule", "train/micro_batches = 1"]),
    "model of a part": (0, ["optimizer/kind=kfac", "train/micro_batches=2", "kfac/step_rule=quadratic_model"],
                        ["kfac/step_rule", "train/micro_batches = 1"]),
    "model and Nesterov": (0, ["optimizer/kind=kfac", "optimizer/nesterov=true", "kfac/step_rule=quadratic_model"],
                           ["optimizer/nesterov", "kfac/step_rule"]),
    "hybrid fraction": (2, ["optimizer/kind=kfac", "kfac/placement=hybrid", "kfac/hybrid_fraction=0.3"],
                        ["kfac/hybrid_fraction = 0.3 of 2 ranks", "1/k"]),
    "ekfac without bases": (2, ["optimizer/kind=ekfac"], ["kfac/placement", "comm_opt"]),
}

OVERRIDES = {
    "unknown key": ("optimizer/lrr=0.1", ["command line", "optimizer/lrr", "optimizer/lr"]),
    "no value": ("optimizer/lr", ["command line", "block/key=value"]),
    "wrong type": ("data/batch=many", ["command line", "data/batch", "whole number"]),
    "out of range": ("data/batch=0", ["command line", "data/batch = 0", "out of range"]),
    "a layer": ("layer/conv1/channels=3", ["command line", "[[layer]]"]),
}


class Decks(harness.CliTest):
    def refuse(self, ranks):
        for name, (edit, marked, fragments) in DECKS.items():
            with self.subTest(deck=name):
                text = edit(self.deck_text(run="never"))
                deck = self.deck("bad.toml", text)
                places = [f"bad.toml:{line_of(text, marked)}"] if marked else []
                self.assert_refused(harness.run(ranks, "train", deck), 2, *places, *fragments)
                self.assert_nothing_made()

    def assert_nothing_made(self):
        made = (self.folder / "never").exists()
        shutil.rmtree(self.folder / "never", ignore_errors=True)
        self.assertFalse(made, "a run folder was left")

    def test_without_a_launcher(self):
        self.refuse(0)

    def test_on_two_ranks(self):
        self.refuse(2)

    def test_overrides(self):
        deck = self.deck(run="never")
        for ranks in (0, 2):
            for name, (override, fragments) in OVERRIDES.items():
                with self.subTest(override=name, ranks=ranks):
                    self.assert_refused(harness.run(ranks, "train", deck, override), 2, *fragments)
                    self.assert_nothing_made()

    def test_combinations(self):
        deck = self.deck(run="never")
        for name, (ranks, overrides, fragments) in COMBINATIONS.items():
            with self.subTest(combination=name):
                self.assert_refused(harness.run(ranks, "train", deck, *overrides), 2, *fragments)
                self.assert_nothing_made()

    def test_missing_deck_and_folder(self):
        for ranks in (0, 2):
            self.assert_refused(harness.run(ranks, "train", self.folder / "absent.toml"), 2, "absent.toml", "inputs/")
            self.assert_refused(harness.run(ranks, "train", self.folder), 2, "is a folder")

    def test_plan_refuses_the_same(self):
        deck = self.deck("bad.toml", self.deck_text().replace("batch = 32", "bacth = 32"))
        self.assert_refused(harness.run(0, "plan", deck), 2, "bad.toml", "data/batch")
        deck = self.deck(run="never")
        for name, (ranks, overrides, fragments) in COMBINATIONS.items():
            with self.subTest(combination=name):
                self.assert_refused(harness.run(0, "plan", deck, "--ranks", max(ranks, 1), *overrides), 2, *fragments)


if __name__ == "__main__":
    unittest.main()
