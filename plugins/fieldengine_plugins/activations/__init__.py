"""Activations: the layers of an MLP, nonlinearity and initialisation together."""
