# SPDX-License-Identifier: MIT
"""kfac_peer.py THREADS: K-FAC steps of ASDL (PyPI: asdfghjkl) on PyTorch, the peer of tests/perf/kfac cost. Requests on
standard input, one JSON line each in reply: `case MODEL BATCH FACTOR_EVERY INVERSE_EVERY`, `run STEPS`."""
import json
import sys
import time

import asdl
import torch
from torch.nn import functional

import peer_torch


def kfac_step(name, batch, factor_every, inverse_every):
    """Empirical Fisher, averages of 0.95 of the past, momentum SGD on the preconditioned gradient: as in our decks."""
    torch.manual_seed(1)
    net = peer_torch.model(name)  # ASDL views weights as matrices, which channels_last forbids
    x, labels = peer_torch.noise(batch, 1, 28, 28), torch.arange(batch) % 10
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    config = asdl.PreconditioningConfig(data_size=batch, damping=0.03, ema_decay=0.05,  # here the weight of the new one
                                        curvature_upd_interval=factor_every, preconditioner_upd_interval=inverse_every)
    maker = asdl.KfacGradientMaker(net, config, fisher_type=asdl.FISHER_EMP)

    def run():
        optimizer.zero_grad(set_to_none=True)
        output = maker.setup_model_call(net, x)
        maker.setup_loss_call(functional.cross_entropy, output, labels)
        maker.forward_and_backward()
        optimizer.step()

    return run


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps({"name": f"ASDL on PyTorch {torch.__version__}"}), flush=True)
    call = None
    for line in sys.stdin:
        request, *words = line.split()
        if request == "case":
            call = kfac_step(words[0], *map(int, words[1:]))
            print(json.dumps({}), flush=True)
        else:
            start, cpu = time.perf_counter(), time.process_time()
            for _ in range(int(words[0])):
                call()
            print(json.dumps({"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main()
