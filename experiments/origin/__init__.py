"""The origin of a study: its calls, code, packages, machine, custom losses and datasets."""
