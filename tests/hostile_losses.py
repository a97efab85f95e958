"""Custom losses that harm their process at their fourth call, or at call `at`.

Otherwise all have the value of `Plain`.
"""

import ctypes
import os
import random
import signal
import stat
import sys
import threading
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Plain(nn.Module):
    def __init__(self, at=4):
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, logits, target):
        self.calls += 1
        if self.calls == self.at:
            self.act()
        return self.value(logits, target)

    def value(self, logits, target):
        return (logits.sigmoid() - target).square().mean()

    def act(self):
        pass


class Segfaults(Plain):
    def act(self):
        ctypes.string_at(0)


class ExitsHard(Plain):
    def act(self):
        os._exit(3)


class Exits(Plain):
    def act(self):
        sys.exit()


class KillsItself(Plain):
    def act(self):
        os.kill(os.getpid(), signal.SIGKILL)


class KillsItsGroup(Plain):
    def act(self):
        os.killpg(0, signal.SIGKILL)


class Interrupts(Plain):
    def act(self):
        raise KeyboardInterrupt


class Hangs(Plain):
    def act(self):
        time.sleep(1000)


class SetsDoubleDefault(Plain):
    def act(self):
        torch.set_default_dtype(torch.float64)


class SetsMetaDevice(Plain):
    def act(self):
        torch.set_default_device("meta")


class DisablesGrad(Plain):
    def act(self):
        torch.set_grad_enabled(False)


class SetsThreads(Plain):
    def act(self):
        torch.set_num_threads(4)


class AllowsNondeterminism(Plain):
    def act(self):
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False


class TurnsWarningsIntoErrors(Plain):
    def act(self):
        warnings.simplefilter("error")
        torch.set_warn_always(True)


class ChangesEnvironment(Plain):
    def act(self):
        os.environ.clear()
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["OMP_NUM_THREADS"] = "3"


class DisablesMkldnn(Plain):
    def act(self):
        torch.backends.mkldnn.enabled = False


class PatchesRelu(Plain):
    def act(self):
        torch.relu = F.relu = nn.ReLU.forward = lambda x, *args, **kwargs: args[0] if args else x


class PatchesAdam(Plain):
    def act(self):
        rate, _, eps, *others = torch.optim.Adam.__init__.__defaults__
        torch.optim.Adam.__init__.__defaults__ = (rate, (0.5, 0.5), eps, *others)


def scale(module, inputs, output):
    return output * 1.01 if isinstance(output, torch.Tensor) else output


class LeavesHook(Plain):
    def act(self):
        nn.modules.module.register_module_forward_hook(scale)


class ChangesFolder(Plain):
    def act(self):
        os.chdir("/")


class SetsAlarm(Plain):
    def act(self):
        signal.alarm(1)


class CountsOnClass(Plain):
    count = 0

    def value(self, logits, target):
        CountsOnClass.count += 1
        return super().value(logits, target) * CountsOnClass.count


class Unprintable(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class BadException(Plain):
    def act(self):
        raise Unprintable


class LongException(Plain):
    def act(self):
        raise ValueError("\ud800" * 5_000_000)


class DrawsNumbers(Plain):
    """Draws random numbers at each call and does not use them."""

    def value(self, logits, target):
        torch.rand(7), np.random.rand(7), random.random()
        return super().value(logits, target)


class Reseeds(Plain):
    def act(self):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)


class Prints32MB(Plain):
    def act(self):
        for _ in range(32):
            print("x" * 1_000_000)


class LeavesThread(Plain):
    def act(self):
        threading.Thread(target=time.sleep, args=(1000,)).start()


class ClosesFiles(Plain):
    def act(self):
        os.closerange(3, 100)


class WritesToSockets(Plain):
    """Writes to every open socket and pipe but the terminal's."""

    def act(self):
        for file in range(3, 50):
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    os.set_blocking(file, False)
                    os.write(file, b"\0\n")
            except OSError:
                continue
