"""Benchmarks of the losses, the input path and the code."""
