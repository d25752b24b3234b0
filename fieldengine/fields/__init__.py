"""Fields: what is fitted. Each is an encoding, an MLP made by an activation, and a way to answer.

Public to plugins: `MLP`, the perceptron that every field is built on; `ToUnit`, the step from a data set's own
coordinates to the [-1, 1] that encodings expect; `Output` and `answer`, what a signal's last layer returns.
"""

from fieldengine.fields.box import ToUnit
from fieldengine.fields.mlp import MLP
from fieldengine.fields.output import Output, answer

__all__ = ["MLP", "Output", "ToUnit", "answer"]
