"""The device of a study: the one that was asked for, or an error with the reason."""

import pytest
import torch

from experiments.errors import ConfigError
from experiments.runs import devices, gpus

OLD = "The NVIDIA driver on your system is too old (found version 12080)."


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that sets the GPUs of this machine, and what torch can do with them."""

    def set_up(count=0, problem=None, signs=(), **environment):
        def available():
            if problem:
                import warnings

                warnings.warn(problem, UserWarning, stacklevel=2)
            return count > 0

        for name in (devices.VISIBLE, "SLURM_JOB_GPUS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(devices, "SIGNS", signs)
        monkeypatch.setattr(torch.cuda, "is_available", available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return set_up


def test_auto_takes_a_gpu_and_else_the_cpu(machine):
    machine()
    assert devices.resolve("auto") == "cpu"
    machine(count=1)
    assert devices.resolve("auto") == "cuda"
    assert devices.resolve("cpu") == "cpu"


def test_cuda_is_not_silently_replaced(machine):
    machine()
    with pytest.raises(ConfigError, match="'cuda' cannot be used: torch finds no GPU; allowed"):
        devices.resolve("cuda")


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, r"CUDA_VISIBLE_DEVICES=0,1"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}, r"GPU-8932f937"),
        ({"SLURM_JOB_GPUS": "3"}, r"SLURM_JOB_GPUS=3"),
        ({"signs": [__file__]}, r"test_device\.py"),
    ],
)
def test_auto_is_an_error_where_torch_cannot_use_the_gpu(machine, sign, words):
    machine(problem=OLD, **sign)
    with pytest.raises(ConfigError, match=f"{words}.*driver on your system is too old.*device=cpu"):
        devices.resolve("auto")
    assert devices.resolve("cpu") == "cpu"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_gpu_is_no_gpu(machine, hidden):
    machine(signs=[__file__], CUDA_VISIBLE_DEVICES=hidden)
    assert devices.resolve("auto") == "cpu"


def test_a_torch_without_cuda_is_named(machine, monkeypatch):
    machine()
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ConfigError, match="built without CUDA"):
        devices.resolve("cuda")


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("3,5", 2, ["3", "5"]),
        ("GPU-aa, GPU-bb", 2, ["GPU-aa", "GPU-bb"]),
        ("MIG-cc", 1, ["MIG-cc"]),
        ("0,7", 1, ["0"]),
    ],
)
def test_gpus_are_values_of_the_environment_variable(machine, visible, count, expected):
    machine(count, **({} if visible is None else {devices.VISIBLE: visible}))
    assert gpus.visible() == expected


def test_a_process_computes_in_one_thread_and_in_full_precision():
    for precision, tf32 in (("tf32", True), ("fp32", False), ("bf16", False)):
        devices.set_process("cpu", precision)
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == tf32
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory


def test_a_record_names_the_processor():
    entries = devices.describe("cpu")
    assert entries["device"] == "cpu"
    assert entries["machine"].keys() == {"arch", "cpu", "capability"}
