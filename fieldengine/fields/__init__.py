"""Fields: what is fitted. Each is an encoding, an MLP made by an activation, and a way to answer.

Public to plugins: `MLP`, the perceptron that every field is built on, and `ToUnit`, the step from a data set's own
coordinates to the [-1, 1] that encodings expect.
"""

from fieldengine.fields.box import ToUnit
from fieldengine.fields.mlp import MLP

__all__ = ["MLP", "ToUnit"]
