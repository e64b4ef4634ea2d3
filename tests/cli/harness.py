# SPDX-License-Identifier: MIT
"""What the command-line tests share: running isaribi on 0 (no launcher), 1 or 2 ranks, what one good message is, small data."""
import os
import pathlib
import random
import re
import struct
import subprocess
import tempfile
import unittest

ISARIBI = os.environ.get("ISARIBI", "isaribi")
MPIEXEC = os.environ.get("ISARIBI_MPIEXEC", "mpirun")
ENVIRONMENT = dict(
    os.environ,
    OMP_NUM_THREADS="1",
    OMPI_ALLOW_RUN_AS_ROOT="1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    OMPI_MCA_rmaps_base_oversubscribe="1",
    OMPI_MCA_hwloc_base_binding_policy="none",
    OMPI_MCA_mpi_yield_when_idle="1",
    PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe",
)
TIMEOUT = 120  # seconds: longer is a hang


def run(ranks, *arguments, environment=None, cwd=None, before=()):
    """Runs isaribi, by the program `before` on every rank; `ranks` 0 is without a launcher. Returns (exit code, standard output,
    standard error)."""
    command = ([MPIEXEC, "-np", str(ranks)] if ranks else []) + [*before, ISARIBI, *map(str, arguments)]
    done = subprocess.run(command, env=environment or ENVIRONMENT, cwd=cwd, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=TIMEOUT)
    return done.returncode, done.stdout, done.stderr


def idx_images(images, height, width, magic=0x803, count=None):
    return struct.pack(">IIII", magic, len(images) if count is None else count, height, width) + b"".join(images)


def idx_labels(labels, magic=0x801):
    return struct.pack(">II", magic, len(labels)) + bytes(labels)


def sample_images(count, seed, size=12):
    """Ten classes: a bright bar in a row that depends on the class, and noise."""
    rng = random.Random(seed)
    images, labels = [], []
    for _ in range(count):
        label = rng.randrange(10)
        image = bytearray(rng.randrange(60) for _ in range(size * size))
        for column in range(2, size - 2):
            image[(label + 1) * size + column] = 150 + rng.randrange(100)
        images.append(bytes(image))
        labels.append(label)
    return images, labels


def make_set(folder, name, count, seed, size=12):
    images, labels = sample_images(count, seed, size)
    image_file, label_file = folder / f"{name}-images", folder / f"{name}-labels"
    image_file.write_bytes(idx_images(images, size, size))
    label_file.write_bytes(idx_labels(labels))
    out = folder / f"{name}.h5"
    code, stdout, stderr = run(0, "convert", "idx", "--images", image_file, "--labels", label_file, "--output", out)
    assert code == 0, stdout + stderr
    return out


DECK = """version = 1
[run]
dir = "{run}"
backend = "reference"
[data]
train = "{train}"
test = "{test}"
batch = 32
[model]
outputs = 10
[optimizer]
lr = 0.05
[train]
epochs = 1
log_every = 2
[[layer]]
kind = "conv"
name = "conv1"
channels = 4
kernel = 3
[[layer]]
kind = "relu"
[[layer]]
kind = "max_pool"
[[layer]]
kind = "linear"
name = "output"
features = 10
"""


class CliTest(unittest.TestCase):
    """A folder of its own, a training and a test set in it."""

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="isaribi-cli-")
        cls.folder = pathlib.Path(cls.holder.name)
        cls.train = make_set(cls.folder, "train", 120, 1)
        cls.test = make_set(cls.folder, "test", 40, 2)

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def deck_text(self, run="run", **changes):
        values = dict(run=self.folder / run, train=self.train, test=self.test)
        values.update(changes)
        return DECK.format(**values)

    def deck(self, name="deck.toml", text=None, **changes):
        path = self.folder / name
        path.write_text(text if text is not None else self.deck_text(**changes))
        return path

    def assert_refused(self, result, code, *fragments):
        """One message with exit `code`; it holds a cause with its place, a hint, and all `fragments`."""
        got, stdout, stderr = result
        self.assertEqual(got, code, f"exit {got}\n{stdout}\n{stderr}")
        messages = re.findall(r"^isaribi: error: .*", stderr, re.M)
        self.assertEqual(len(messages), 1, stderr)
        self.assertNotRegex(messages[0], r"error: (.+): \1: ", "the place is named twice")
        self.assertRegex(stderr, r"(?m)^  hint: \S")
        for word in ("terminate called", "Traceback", "Segmentation", "AddressSanitizer"):
            self.assertNotIn(word, stderr)
        message = stderr[stderr.index("isaribi: error:"):]
        for fragment in fragments:
            self.assertIn(fragment, message)

    def assert_fine(self, result):
        code, stdout, stderr = result
        self.assertEqual(code, 0, stdout + stderr)
        self.assertNotIn("isaribi: error:", stderr)
