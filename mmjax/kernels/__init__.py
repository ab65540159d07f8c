"""Numerical kernels, each behind one function that picks the backend by platform and shape.

To add a backend of attention, see `attention.BACKENDS`; hold it to the reference in
`tests/kernels`.
"""
