"""What the tests on a GPU let other processes import: custom losses and calls of workers."""

import os
from pathlib import Path

import torch
from torch import nn


class Plain(nn.Module):
    def forward(self, logits, target):
        return (logits.sigmoid() - target).square().mean()


class Counts(Plain):
    """Grows with each call: a recording of it would repeat one value."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, logits, target):
        self.calls += 1
        return super().forward(logits, target) * (1 + self.calls / 10)


class Allocates(Plain):
    """Asks for more memory than there is, in the first `times` processes that use it.

    The file `tries` in the working folder has a line for each of them.
    """

    def __init__(self, times, tries):
        super().__init__()
        self.times, self.tries, self.first = times, Path(tries).absolute(), True

    def forward(self, logits, target):
        if self.first:
            self.first = False
            with self.tries.open("a+") as file:
                file.write("try\n")
                file.seek(0)
                if len(file.readlines()) <= self.times:
                    logits.new_empty(2**44)
        return super().forward(logits, target)


class OutOfRange(Plain):
    """Reads a pixel that does not exist: on a GPU, a device-side assert."""

    def forward(self, logits, target):
        number = torch.full((1,), logits.numel(), device=logits.device)
        return super().forward(logits, target) + 0 * logits.flatten()[number].sum()


def gpus_of_process():
    """Return the process, its CUDA_VISIBLE_DEVICES, and the name of each GPU that it sees."""
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), names
