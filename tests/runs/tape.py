"""Recordings of operations on a CPU, in place of CUDA graphs."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

HOST_READS = {
    f"aten::{name}"
    for name in ("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select")
}
"""Operations that read a value on the host: a CUDA graph cannot record them."""


class Tape(TorchDispatchMode):
    """The operations of one call. `replay` runs them again on the same memory, without Python."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in HOST_READS:
            raise RuntimeError(f"{func._schema.name} reads a value on the host")
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, out in self.operations:
            if func.is_view:
                continue
            again = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for old, new in zip(_tensors(out), _tensors(again), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def _tensors(out):
    parts = out if isinstance(out, list | tuple) else [out]
    return [part for part in parts if isinstance(part, torch.Tensor)]


class Tapes:
    """Records calls as `experiments.runs.lane.CudaGraphs` does. recorded: operations of each."""

    def __init__(self):
        self.recorded = []

    def __call__(self, call):
        tape = Tape()
        with tape:
            call()
        self.recorded.append(len(tape.operations))
        return tape.replay


def repeat(call):
    """Record nothing: repeat the call itself."""
    call()
    return call
