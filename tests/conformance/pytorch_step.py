#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two SGD steps of preset networks, ours against PyTorch.

PyTorch builds each network after the preset's definition, takes two steps (momentum, weight decay, batch norm in
training mode) and writes weights, batch, losses, gradients and the weights afterwards into a folder of plain files;
then the C++ side (pytorch_step.cpp) does the same from the same start and compares.

    pytorch_step.py PROGRAM [MODEL..]       PROGRAM: the executable made of pytorch_step.cpp
Exit code 77 and "skipped: .." when PyTorch is missing.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    from torch import nn
except ImportError as error:
    print(f"skipped: {error} (give a Python that has PyTorch: -DPython3_EXECUTABLE=..)")
    sys.exit(77)

BATCH, CLASSES, LR, MOMENTUM, DECAY = 8, 10, 0.05, 0.9, 5e-4


class Rows(nn.Module):
    """Flattens [N, C, H, W] in the order of [N, H, W, C]."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Gap(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Block(nn.Module):
    """The residual block of the CIFAR ResNets with a projection where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.main = nn.Sequential(*conv_bn(inputs, outputs, 3, stride), *conv_bn(outputs, outputs, 3, 1)[:2])
        self.shortcut = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(*conv_bn(inputs, outputs, 1, stride)[:2])

    def forward(self, x):
        return torch.relu(self.main(x) + self.shortcut(x))


def conv_bn(inputs, outputs, kernel, stride):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), Rows(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES))


def small_cnn():
    return nn.Sequential(
        *conv_bn(1, 32, 3, 1), *conv_bn(32, 32, 3, 1), nn.MaxPool2d(2),
        *conv_bn(32, 64, 3, 1), *conv_bn(64, 64, 3, 1), nn.MaxPool2d(2), Gap(), nn.Linear(64, CLASSES))


def resnet8():
    return nn.Sequential(*conv_bn(1, 16, 3, 1), Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
                         Gap(), nn.Linear(64, CLASSES))


MODELS = {"lenet5": lenet5, "small_cnn": small_cnn, "resnet8": resnet8}


def ours(tensor):
    """A tensor in our layout: convolution weights and images with channels last."""
    tensor = tensor.detach()
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    return numpy.ascontiguousarray(tensor.to(torch.float64).numpy())


def write(folder, model):
    torch.manual_seed(1)
    net = model().double().train()
    x = torch.rand(2, BATCH, 1, 28, 28, dtype=torch.float64) - 0.3
    labels = torch.randint(0, CLASSES, (2, BATCH))
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)

    def save(key, tensors):
        numpy.concatenate([ours(t).ravel() for t in tensors]).tofile(folder / f"{key}.f64")

    def statistics():
        return [b for n, b in net.named_buffers() if n.endswith(("running_mean", "running_var"))]

    save("start", net.parameters())
    for step in range(2):
        loss = nn.functional.cross_entropy(net(x[step]), labels[step])
        optimizer.zero_grad()
        loss.backward()
        save(f"x{step}", [x[step]])
        labels[step].to(torch.float64).numpy().tofile(folder / f"labels{step}.f64")
        save(f"loss{step}", [loss])
        save(f"gradient{step}", [p.grad for p in net.parameters()])
        optimizer.step()
    save("end", net.parameters())
    numpy.concatenate([ours(b) for b in statistics()] or [numpy.zeros(0)]).tofile(folder / "statistics.f64")
    save("evaluated", [net.eval()(x[0])])


def main():
    names = sys.argv[2:] or list(MODELS)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder), MODELS[name])
            subprocess.run([sys.argv[1], name, folder, str(BATCH), str(LR), str(MOMENTUM), str(DECAY)], check=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode or 1)
