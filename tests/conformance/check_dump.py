#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The K-FAC of one step, recomputed in PyTorch from the dump of a run (diagnostics/dump_steps).

Trains LeNet-5 for one step on synthetic images with the given isaribi on 2 ranks, dumps it, and builds the same network in
f64 from the weights of the dump: gradients by autograd, factors from per-sample gradients, directions by dense solves. Also
the ten lines to copy for a dump of one's own: see check_layer.

    check_dump.py ISARIBI [MPIEXEC]
Exit code 77 and "skipped: .." when PyTorch or h5py is missing.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy
    import torch
    from torch import nn
except ImportError as error:
    print(f"skipped: {error} (give a Python that has PyTorch and h5py: -DPython3_EXECUTABLE=..)")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "restart"))
TOLERANCE = {"gradient": 1e-5, "A": 1e-5, "G": 1e-5, "direction": 1e-4}


class Rows(nn.Module):
    """Flattens [N, C, H, W] in the order of [N, H, W, C]."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def lenet5(features):
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
                         Rows(), nn.Linear(features, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)).double()


def patches(layer, x):
    """[N, T, D]: what the layer's weight matrix multiplies, bias last, in the order (kernel row, kernel column, channel)."""
    if isinstance(layer, nn.Linear):
        rows = x[:, None, :]
    else:
        k = layer.kernel_size[0]
        cut = nn.functional.unfold(x, k, padding=layer.padding, stride=layer.stride)
        n, d, t = cut.shape
        rows = cut.view(n, d // (k * k), k * k, t).permute(0, 3, 2, 1).reshape(n, t, d)
    return torch.cat([rows, torch.ones(*rows.shape[:2], 1, dtype=rows.dtype)], 2)


def check_layer(stored, layer, x, g):
    """x: input of the layer; g: d(loss of each sample)/d(its output)."""
    a_rows = patches(layer, x)
    g_rows = g[:, None, :] if g.dim() == 2 else g.permute(0, 2, 3, 1).reshape(len(g), -1, g.shape[1])
    n, t = g_rows.shape[:2]
    found = {"gradient": torch.einsum("nto,ntd->od", g_rows, a_rows) / n,
             "A": torch.einsum("ntc,ntd->cd", a_rows, a_rows) / n,
             "G": torch.einsum("nto,ntp->op", g_rows, g_rows) / (n * t)}
    lam = stored.attrs["damping"]
    pi = ((found["A"].trace() / len(found["A"])) / (found["G"].trace() / len(found["G"]))) ** 0.5
    damped_g = found["G"] + lam ** 0.5 / pi * torch.eye(len(found["G"]), dtype=torch.float64)
    damped_a = found["A"] + lam ** 0.5 * pi * torch.eye(len(found["A"]), dtype=torch.float64)
    found["direction"] = torch.linalg.solve(damped_a, torch.linalg.solve(damped_g, found["gradient"]).T).T
    errors = {}
    for name, value in found.items():
        ours = stored[name][()]
        value = value.detach().numpy()
        errors[name] = numpy.linalg.norm(ours.reshape(value.shape) - value) / numpy.linalg.norm(value)
    return errors


def keep(seen, module, inputs, out):
    out.retain_grad()
    seen[module] = (inputs[0].detach(), out)


def main():
    isaribi = sys.argv[1]
    os.environ.update(ISARIBI=isaribi, ISARIBI_MPIEXEC=sys.argv[2] if len(sys.argv) > 2 else "mpirun")
    import harness  # reads the environment
    failed = False
    with tempfile.TemporaryDirectory(prefix="isaribi-dump-") as name:
        folder = pathlib.Path(name)
        harness.make_data(folder, train=100, test=20)
        deck = harness.write_deck(folder, "deck", folder / "run", folder)
        text = deck.read_text()
        deck.write_text(text[:text.index("[[layer]]")].replace("outputs = 10", 'preset = "lenet5"').replace("crop = 1", "crop = 0"))
        code, output = harness.run(2, "train", deck, "train/steps=1", "optimizer/kind=kfac", "optimizer/weight_decay=0",
                                   "kfac/damping=0.03", "diagnostics/dump_steps=[0]")
        if code != 0:
            sys.exit(f"isaribi failed with {code}:\n{output}")
        with h5py.File(folder / "run" / "diagnostics" / "step_00000000.h5") as dump:
            x = torch.tensor(dump["inputs"][()], dtype=torch.float64).permute(0, 3, 1, 2)
            weights = dump["weights"]
            net = lenet5(weights["fc1/weight"].shape[1])
            modules = {m: k for k, m in zip(("conv1", "conv2", "fc1", "fc2", "output"),
                                            (m for m in net if isinstance(m, (nn.Conv2d, nn.Linear))))}
            seen = {}
            for module, layer in modules.items():
                w = torch.tensor(weights[f"{layer}/weight"][()], dtype=torch.float64)
                module.weight.data = w.permute(0, 3, 1, 2) if w.dim() == 4 else w
                module.bias.data = torch.tensor(weights[f"{layer}/bias"][()], dtype=torch.float64)
                module.register_forward_hook(lambda m, inputs, out: keep(seen, m, inputs, out))
            labels = torch.tensor(dump["labels"][()], dtype=torch.long)
            nn.functional.cross_entropy(net(x), labels, reduction="sum").backward()  # sum: gradients of each sample's own loss
            for module, layer in modules.items():
                inputs, out = seen[module]
                for what, error in check_layer(dump["layers"][layer], module, inputs, out.grad).items():
                    good = error < TOLERANCE[what]
                    failed |= not good
                    print(f"{'ok  ' if good else 'FAIL'} {layer:8} {what:10} {error:.1e}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
