"""Custom losses that harm their process: their runs say so, and all others have the same bytes."""

import importlib
import sys

import pytest

from experiments.runs import jobs, records
from tests.runs.conftest import everything_but_time, prepared_study

MODULE = "tests.hostile_losses"
CLEAN = ("cross_entropy", "dice", "squared_dice", "tversky")
EXPECTED = {
    "Plain": None,
    "Segfaults": "signal 11 (SIGSEGV)",
    "ExitsHard": "exit code 3",
    "Exits": "SystemExit",
    "KillsItself": "signal 9 (SIGKILL; out of memory?)",
    "KillsItsGroup": "signal 9 (SIGKILL; out of memory?)",
    "Interrupts": "KeyboardInterrupt",
    "Hangs": "timeout: no step for 3 s",
    "SetsDoubleDefault": None,
    "SetsMetaDevice": None,
    "DisablesGrad": "does not require grad",
    "SetsThreads": None,
    "AllowsNondeterminism": None,
    "TurnsWarningsIntoErrors": None,
    "ChangesEnvironment": None,
    "DisablesMkldnn": None,
    "PatchesRelu": None,
    "PatchesAdam": None,
    "LeavesHook": None,
    "ChangesFolder": None,
    "SetsAlarm": None,
    "CountsOnClass": None,
    "BadException": "Unprintable",
    "LongException": "ValueError: ",
    "DrawsNumbers": None,
    "Reseeds": None,
    "Prints32MB": None,
    "LeavesThread": None,
    "ClosesFiles": "exit code 1",
    "WritesToSockets": "a message that cannot be read",
}
"""Class of a hostile loss -> words of the reason of its failed runs; None: they end well."""

IMPORTS = {
    "segfaults": ("import ctypes; ctypes.string_at(0)", "signal 11 (SIGSEGV)"),
    "exits": ("raise SystemExit(0)", "SystemExit: 0"),
    "hangs": ("import time; time.sleep(1000)", "timeout: no step for 3 s"),
    "sets_dtype": ("torch.set_default_dtype(torch.float64)", None),
    "disables_mkldnn": ("torch.backends.mkldnn.enabled = False", None),
    "disables_grad": ("torch.set_grad_enabled(False)", "does not require grad"),
    "patches_relu": ("torch.nn.functional.relu = lambda x, inplace=False: x", None),
    "changes_folder": ("import os; os.chdir('/')", None),
}
"""Name of a module -> its code, and the words as above."""


def trained(config, number):
    """A study's runs by loss, after `number` workers trained them in one cell."""
    config["experiments"] = {"noise": {"knob": "flips", "values": [0]}}
    config["timeout"] = {"step": 3}
    study = prepared_study(config)
    jobs.Training(study, study.runs).run(number)
    return study, {run.loss: run for run in study.runs}


def check_clean(study, runs, expected):
    """Check the runs of the suite's losses; return the number of those harmed."""
    harmed = [name for name in CLEAN if everything_but_time(study, runs[name]) != expected[name]]
    assert harmed == []


def check_own(study, runs, expected):
    """Check status and reason of the hostile losses' runs."""
    for name, words in expected.items():
        record = records.read_record(study.run_folder(runs[name]))
        reason = record.get("reason")
        if name == "SetsAlarm" and reason:  # the run took longer than the alarm
            words = "signal 14 (SIGALRM)"
        if name == "ClosesFiles" and not reason:  # it could still write its record
            words = None
        outcome = ("failed", True) if words else ("ok", False)
        assert (record["status"], bool(reason)) == outcome, name
        assert (words or "") in (reason or ""), name
        assert len(reason or "") <= 500


@pytest.fixture
def clean(short, in_tmp):
    """Loss -> record and files of the run in a study without any hostile loss."""
    losses = {name: {} for name in CLEAN}
    study, runs = trained({**short, "losses": losses, "study": "clean"}, 2)
    return {name: everything_but_time(study, run) for name, run in runs.items()}


@pytest.mark.parametrize("number", [1, 2])
def test_hostile_losses_harm_their_own_runs_only(short, clean, number):
    hostile = {name: {"use": f"{MODULE}:{name}"} for name in EXPECTED}
    names = list(hostile)
    short["losses"] = {CLEAN[0]: {}}
    for i, name in enumerate(CLEAN[1:]):  # each after a third of the hostile losses
        third = names[i * len(names) // 3 : (i + 1) * len(names) // 3]
        short["losses"] |= {other: hostile[other] for other in third} | {name: {}}
    study, runs = trained(short, number)
    check_own(study, runs, EXPECTED)
    check_clean(study, runs, clean)
    assert MODULE not in sys.modules


def test_hostile_modules_harm_their_own_runs_only(short, clean, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    losses = {}
    for name, (code, _) in IMPORTS.items():
        module = f"hostile_import_{name}"
        text = f"import torch\nfrom {MODULE} import Plain\n{code}\nclass Loss(Plain):\n    pass\n"
        tmp_path.joinpath(f"{module}.py").write_text(text)
        losses[name] = {"use": f"{module}:Loss"}
    importlib.invalidate_caches()
    study, runs = trained({**short, "losses": losses | {name: {} for name in CLEAN}}, 2)
    check_own(study, runs, {name: words for name, (_, words) in IMPORTS.items()})
    check_clean(study, runs, clean)
    assert not any(name.startswith("hostile_import") for name in sys.modules)


def test_a_loss_that_counts_on_its_class_has_the_same_bytes_with_one_worker_or_two(short, in_tmp):
    found = []
    for number in (1, 2):
        losses = {name: {"use": f"{MODULE}:CountsOnClass"} for name in ("a", "b")}
        study, runs = trained({**short, "losses": losses, "study": f"study-{number}"}, number)
        found += [everything_but_time(study, run)[0]["weights"] for run in runs.values()]
    assert len(set(found)) == 1


def test_a_loss_that_draws_random_numbers_gets_the_dropout_of_one_that_does_not(short, in_tmp):
    short["training"]["architecture"] = "FPN"
    short["training"]["model_options"] = {"decoder_dropout": 0.5}
    short["losses"] = {
        name: {"use": f"{MODULE}:{name}"} for name in ("Plain", "DrawsNumbers", "Reseeds")
    }
    study, runs = trained(short, 2)
    found = {name: everything_but_time(study, run) for name, run in runs.items()}
    weights = {record["weights"] for record, _ in found.values()}
    assert len(weights) == 1
    assert found["Plain"][1] == found["DrawsNumbers"][1] == found["Reseeds"][1]
