"""Activations: the layers of an MLP, with nonlinearity and initialisation."""
