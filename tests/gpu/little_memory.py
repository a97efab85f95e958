"""A module for the workers' server: from the start of its training on, a run has little memory."""

import torch

from experiments.runs import run

FRACTION = 1e-6
fit = run.fit


def with_little_memory(*args):
    torch.cuda.set_per_process_memory_fraction(FRACTION)
    return fit(*args)


run.fit = with_little_memory
