# SPDX-License-Identifier: MIT
"""The PyTorch side of tests/perf/bench: the same cases as cases.cpp, channels_last, f32."""
import re
import sys

import torch
from torch import nn
from torch.nn import functional

import peer


def noise(*shape):
    return torch.rand(*shape) * 2 - 1


def image(n, c, h):
    return noise(n, c, h, h).contiguous(memory_format=torch.channels_last)


def conv(name, a):
    s, p, g = a.get("s", 1), a.get("p", 0), a.get("g", 1)
    x = image(a["n"], a["i"], a["h"])
    w = noise(a["o"], a["i"] // g, a["k"], a["k"]).contiguous(memory_format=torch.channels_last)
    if name == "conv_forward":
        return lambda: functional.conv2d(x, w, stride=s, padding=p, groups=g)
    dy = functional.conv2d(x, w, stride=s, padding=p, groups=g)
    mask = [name == "conv_backward_data", name == "conv_backward_weights", False]
    call = torch.ops.aten.convolution_backward
    return lambda: call(dy, x, w, None, [s, s], [p, p], [1, 1], False, [0, 0], g, mask)


def gemm(name, a):
    m, k = a["m"], a["k"]
    left = noise(k, m).t() if a.get("ta") else noise(m, k)
    if name == "syrk":  # PyTorch has none: the product it would use
        return lambda: torch.mm(left, left.t())
    right = noise(a["n"], k).t() if a.get("tb") else noise(k, a["n"])
    out = torch.empty(m, a["n"])
    return lambda: torch.mm(left, right, out=out)


def factor(a):
    x = image(a["n"], a["i"], a["h"])
    ones = torch.ones(1, 1) if a["bias"] else None

    def call():
        if a["k"] == 1 and a["s"] == 1:
            patches = x.permute(0, 2, 3, 1).reshape(-1, a["i"])
        else:
            columns = functional.unfold(x, a["k"], padding=a["p"], stride=a["s"])
            patches = columns.transpose(1, 2).reshape(-1, columns.shape[1])
        if ones is not None:
            patches = torch.cat([patches, ones.expand(patches.shape[0], 1)], dim=1)
        return patches.t() @ patches

    return call


def kronecker(a):
    m, n = a["m"], a["n"]
    left, right = noise(m, m), noise(n, n)
    weights, biases = noise(m, n - 1).double(), noise(m, 1).double()

    def call():
        x = torch.cat([weights, biases], dim=1).float()
        y = left @ x @ right
        return y[:, :-1].contiguous(), y[:, -1:].contiguous(), (x * y).sum()

    return call


def inverse(a):
    i = torch.arange(a["n"])
    matrix = 1.0 / (1 + (i[:, None] - i).abs()) + torch.eye(a["n"])
    return lambda: torch.cholesky_inverse(torch.linalg.cholesky(matrix))


def linear(name, a):
    x, w, dy = noise(a["n"], a["i"]), noise(a["o"], a["i"]), noise(a["n"], a["o"])
    return {
        "linear_forward": lambda: functional.linear(x, w),
        "linear_backward_data": lambda: torch.mm(dy, w),
        "linear_backward_weights": lambda: torch.mm(dy.t(), x),
    }[name]


def norm(name, a):
    x, dy = image(a["n"], a["i"], a["h"]), image(a["n"], a["i"], a["h"])
    if name == "add_relu":
        return lambda: functional.relu(x + dy)
    return None  # one fused call there, four passes here: compared in `step`


def update(name, a):
    w = noise(a["n"]).requires_grad_()
    w.grad = noise(a["n"])
    if name == "sgd_update":
        optimizer = torch.optim.SGD([w], lr=0.05, momentum=0.9, weight_decay=5e-4, fused=True)
    else:
        optimizer = torch.optim.AdamW([w], lr=1e-3, weight_decay=0, fused=True)
    return lambda: optimizer.step()


def pool(name, a):
    x = image(a["n"], a["i"], a["h"])
    y, where = functional.max_pool2d(x, 2, return_indices=True)
    if name == "max_pool_forward":
        return lambda: functional.max_pool2d(x, 2, return_indices=True)
    call = torch.ops.aten.max_pool2d_with_indices_backward
    return lambda: call(y, x, [2, 2], [2, 2], [0, 0], [1, 1], False, where)


def conv_bn(i, o, stride=1):
    return [nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)]


class Block(nn.Module):
    """Basic residual block with a projection where the shape changes."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.body = nn.Sequential(*conv_bn(i, o, stride), nn.ReLU(), *conv_bn(o, o))
        same = stride == 1 and i == o
        self.shortcut = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))


def model(name):
    if name == "lenet5":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, 10))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    if name == "small_cnn":
        def stage(i, o):
            return conv_bn(i, o) + [nn.ReLU()] + conv_bn(o, o) + [nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*stage(1, 32), *stage(32, 64), *head)
    if name == "autoencoder":
        widths = [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
        layers = [nn.Flatten()]
        for index, (i, o) in enumerate(zip(widths, widths[1:])):
            layers.append(nn.Linear(i, o))
            if index not in (3, 7):  # the code and the output are linear
                layers.append(nn.Tanh())
        return nn.Sequential(*layers)
    if name == "mlp4096":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
                             nn.Linear(4096, 10))
    blocks = [Block(16, 16, 1), Block(16, 16, 1), Block(16, 32, 2), Block(32, 32, 1), Block(32, 64, 2),
              Block(64, 64, 1)]
    return nn.Sequential(*conv_bn(1, 16), nn.ReLU(), *blocks, *head)


def step(a, compiled=False):
    net = model(a["model"]).to(memory_format=torch.channels_last)
    x, labels = torch.rand(a["n"], 1, 28, 28).contiguous(memory_format=torch.channels_last), torch.arange(a["n"]) % 10
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    forward = torch.compile(net) if compiled else net

    def loss():
        if a["model"] != "autoencoder":
            return functional.cross_entropy(forward(x), labels)
        target = x.flatten(1)
        return functional.binary_cross_entropy_with_logits(forward(x), target, reduction="sum") / len(x)

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return run


def best_step(a, try_compile):
    """(name, call) of the faster of eager and torch.compile, by a few calls in turns."""
    calls = {"PyTorch eager": step(a)}
    if try_compile:
        try:
            calls["torch.compile"] = step(a, compiled=True)
            calls["torch.compile"]()
        except Exception as error:  # whatever the compiler stumbles over: the eager peer remains
            print(f"# peer missing: torch.compile of {a['model']} ({str(error).strip().splitlines()[0]})")
            del calls["torch.compile"]
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(4 if len(calls) > 1 else 1):
        for name, call in calls.items():
            best[name] = min(best[name], peer.repeat(call, 0.1))
    name = min(best, key=best.get)
    others = ", ".join(f"{other} {seconds / best[name]:.2f} times as long" for other, seconds in best.items() if other != name)
    return name + (f"; {others}" if others else ""), calls[name]


def onednn():
    """The version of oneDNN (once MKL-DNN) that this PyTorch carries."""
    found = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return "oneDNN " + found.group(1) if found and torch.backends.mkldnn.is_available() else "no oneDNN"


class Peer:
    """name, case(name, arguments) -> whether there is a counterpart, run(seconds) -> seconds per call."""

    def __init__(self, threads, try_compile=False):
        torch.set_num_threads(threads)
        self.name = f"PyTorch {torch.__version__} with {onednn()}, channels_last"
        self.call, self.step_name, self.compile = None, "", try_compile

    def label(self, name):
        """Who computed the last case."""
        return self.step_name if name == "step" else onednn() if name.startswith("conv") else "PyTorch eager"

    def case(self, name, a):
        if name == "step":
            self.step_name, self.call = best_step(a, self.compile)
        elif name == "patch_covariance":
            self.call = factor(a)
        elif name == "kronecker":
            self.call = kronecker(a)
        elif name == "inverse":
            self.call = inverse(a)
        elif name in ("gemm", "syrk"):
            self.call = gemm(name, a)
        else:
            family = {"sgd": update, "adam": update, "conv": conv, "linear": linear, "max": pool}.get(name.split("_")[0], norm)
            self.call = family(name, a)
        if self.call is None:
            return False
        self.run(0)
        return True

    def run(self, seconds):
        if self.call.__name__ == "run":  # a training step
            return peer.repeat(self.call, seconds)
        with torch.no_grad():
            return peer.repeat(self.call, seconds)


def memory_kb(key):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(line.split()[1] for line in file if line.startswith(key))


if __name__ == "__main__":  # MODEL BATCH THREADS: peak resident KiB before and after some steps, for `bench memory`
    torch.set_num_threads(int(sys.argv[3]))
    before = memory_kb("VmHWM")
    one_step = step(dict(model=sys.argv[1], n=int(sys.argv[2])))
    for _ in range(5):
        one_step()
    print(before, memory_kb("VmHWM"))
