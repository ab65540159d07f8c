"""Numerical kernels, each behind one function that picks the backend by platform and shape.

To add a backend, add a branch to that function and hold it to the reference in `tests/kernels`.
"""
