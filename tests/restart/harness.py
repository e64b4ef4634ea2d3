# SPDX-License-Identifier: MIT
"""What the restart tests share: a small learnable data set, a deck, launching isaribi on N ranks, digests."""
import gzip
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import time

ISARIBI = os.environ.get("ISARIBI", "isaribi")
MPIEXEC = os.environ.get("ISARIBI_MPIEXEC", "mpirun")
ENVIRONMENT = dict(
    os.environ,
    OMP_NUM_THREADS="1",
    OMPI_ALLOW_RUN_AS_ROOT="1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    OMPI_MCA_rmaps_base_oversubscribe="1",
    OMPI_MCA_mpi_yield_when_idle="1",
    OMPI_MCA_btl_vader_single_copy_mechanism="none",
)


def write_idx(folder, name, count, seed):
    """Images 12 x 12 of ten classes: a bright bar whose row depends on the class, and noise."""
    rng = random.Random(seed)
    images, labels = bytearray(), bytearray()
    for _ in range(count):
        label = rng.randrange(10)
        labels.append(label)
        image = bytearray(rng.randrange(60) for _ in range(144))
        for column in range(2, 10):
            image[(label + 1) * 12 + column] = 150 + rng.randrange(100)
        images += image
    with gzip.open(folder / f"{name}-images.gz", "wb") as f:
        f.write(struct.pack(">IIII", 0x803, count, 12, 12) + bytes(images))
    with gzip.open(folder / f"{name}-labels.gz", "wb") as f:
        f.write(struct.pack(">II", 0x801, count) + bytes(labels))


def make_data(folder, train=1000, test=200):
    """Converts synthetic IDX files into folder/train.h5 and folder/test.h5."""
    for name, count, seed in (("train", train, 1), ("test", test, 2)):
        write_idx(folder, name, count, seed)
        subprocess.run(
            [ISARIBI, "convert", "idx", "--images", str(folder / f"{name}-images.gz"), "--labels",
             str(folder / f"{name}-labels.gz"), "--output", str(folder / f"{name}.h5")],
            check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)


DECK = """version = 1
[run]
dir = "{run}"
seed = 7
[data]
train = "{data}/train.h5"
test = "{data}/test.h5"
batch = 50
eval_batch = 200
[data.augment]
crop = 1
[model]
{model}
[optimizer]
kind = "sgd"
lr = 0.05
momentum = 0.9
weight_decay = 1e-4
[schedule]
kind = "cosine"
warmup_epochs = 0.5
[average]
kind = "ema"
decay = 0.9
[train]
epochs = {epochs}
log_every = 5
[checkpoint]
every = {every}
keep = 2
"""

SMALL_MODEL = """
[[layer]]
kind = "conv"
channels = 8
kernel = 3
pad = 1
[[layer]]
kind = "batch_norm"
[[layer]]
kind = "relu"
[[layer]]
kind = "max_pool"
kernel = 2
stride = 2
[[layer]]
kind = "dropout"
p = 0.1
[[layer]]
kind = "linear"
features = 10
"""

# Its first two weights are sharded on 2 to 5 ranks.
WIDE_MODEL = """
[[layer]]
kind = "linear"
features = 515
[[layer]]
kind = "relu"
[[layer]]
kind = "dropout"
p = 0.1
[[layer]]
kind = "linear"
features = 300
[[layer]]
kind = "batch_norm"
[[layer]]
kind = "relu"
[[layer]]
kind = "linear"
features = 10
"""

MODELS = {"small": SMALL_MODEL, "wide": WIDE_MODEL}


def write_deck(folder, name, run, data, epochs=3, every=7, model="small"):
    path = folder / f"{name}.toml"
    text = DECK.format(run=run, data=data, epochs=epochs, every=every, model="outputs = 10")
    path.write_text(text + MODELS[model])
    return path


def command(ranks, *arguments):
    return [MPIEXEC, "-np", str(ranks), ISARIBI, *map(str, arguments)]


def launch(ranks, *arguments, log=None):
    """Starts the job in its own process group."""
    return subprocess.Popen(command(ranks, *arguments), env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                            stdout=log or subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)


def run(ranks, *arguments, timeout=300):
    """Runs to the end; returns (exit code, output)."""
    done = subprocess.run(command(ranks, *arguments), env=ENVIRONMENT, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    return done.returncode, done.stdout


def run_mixed(first, second, *arguments, timeout=300):
    """Two ranks, each with variables of its own; returns (exit code, output)."""
    line = [MPIEXEC]
    for number, variables in enumerate((first, second)):
        line += ([":"] if number else []) + ["-np", "1", "env"] + [f"{k}={v}" for k, v in variables.items()]
        line += [ISARIBI, *map(str, arguments)]
    done = subprocess.run(line, env=ENVIRONMENT, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout)
    return done.returncode, done.stdout


def rank_pids(launcher):
    """Process ids of the ranks that `launcher` started on this machine and that have not ended."""
    children = pathlib.Path(f"/proc/{launcher}/task/{launcher}/children")
    try:
        pids = [int(p) for p in children.read_text().split()]
    except OSError:
        return []
    found = []
    for pid in pids:
        try:
            name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            ended = not pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()  # but its parent has not asked yet
        except OSError:
            continue
        if name == "isaribi" and not ended:
            found.append(pid)
    return found


def kill_a_rank(job, rng, delay):
    """SIGKILL to a random rank `delay` seconds after the ranks are there; returns whether one was hit."""
    deadline = time.time() + 30
    while time.time() < deadline and job.poll() is None and not rank_pids(job.pid):
        time.sleep(0.01)
    time.sleep(delay)
    pids = rank_pids(job.pid)
    if not pids or job.poll() is not None:
        return False
    os.kill(rng.choice(pids), signal.SIGKILL)
    return True


def wait_for_ranks(job, timeout=60):
    """Until no rank is left. The launcher of Open MPI 4.1.4 can then be stuck for ever, waiting in PMIx_server_finalize for a
    lock that it holds itself: it is ended after some more seconds. Returns whether it ended by itself."""
    deadline = time.time() + timeout
    while job.poll() is None and rank_pids(job.pid):
        if time.time() > deadline:
            raise TimeoutError(f"ranks {rank_pids(job.pid)} still run {timeout} s after one was killed")
        time.sleep(0.01)
    try:
        job.wait(timeout=20)
        return True
    except subprocess.TimeoutExpired:
        print("the launcher did not end after its ranks: killed")
        job.kill()
        job.wait()
        return False


def digest(path, everything=True):
    arguments = [ISARIBI, "inspect", str(path), "--digest"] + (["--all"] if everything else [])
    out = subprocess.run(arguments, env=ENVIRONMENT, text=True, check=True, stdout=subprocess.PIPE).stdout
    return out.split()[0]


def newest_checkpoint(run_folder):
    folder = pathlib.Path(run_folder) / "checkpoints"
    return folder / (folder / "latest").read_text().strip()


def status(run_folder):
    return json.loads((pathlib.Path(run_folder) / "status.json").read_text())


def metrics(run_folder):
    lines = (pathlib.Path(run_folder) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
