"""Numba twins of the reference: each file here is named as the one above that it must equal, or NAME_kernels."""
