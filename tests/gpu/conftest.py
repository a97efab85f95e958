import os
from contextlib import contextmanager

import pytest
import torch

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as in a run; before CUDA starts

collect_ignore = ["little_memory.py"]
"""A module that changes the process which imports it: for the workers' server only."""


@pytest.fixture(autouse=True)
def gpu():
    """Skip the test without a GPU; restore the settings of the process after it."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")
    yield
    torch.use_deterministic_algorithms(False)


@contextmanager
def no_wait():
    """Let every operation raise an error that makes the host wait for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
