"""Parameterizations: how the layers of an MLP store their weights."""
