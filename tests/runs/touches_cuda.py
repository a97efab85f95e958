"""A module that asks for CUDA when it is imported, as no module of the workers' server may."""

import torch

torch.cuda.is_available()
