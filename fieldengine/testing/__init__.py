"""Checks for the tests of a plugin's author: what its kind promises, tried on a small sample.

    from fieldengine import testing

    def test_my_encoding_is_one():
        testing.check_encoding(MyEncoding(octaves=3), in_dim=2)

Each function takes the options, looks at their class, builds what it makes with all that the engine offers, and tries
it: shapes, gradients, state, and that the seed alone decides. It raises PluginError, or TrainingError where a hook
fails in a step, that says what was expected and what was found; a ValueError by which the plugin refuses the sample
comes through.
"""

from fieldengine.testing.checks import (
    check_activation,
    check_camera,
    check_dataset,
    check_encoding,
    check_exporter,
    check_field,
    check_hook,
    check_metric,
    check_operator,
    check_parameterization,
    check_ray_sampler,
    check_renderer,
)

__all__ = [
    "check_activation",
    "check_camera",
    "check_dataset",
    "check_encoding",
    "check_exporter",
    "check_field",
    "check_hook",
    "check_metric",
    "check_operator",
    "check_parameterization",
    "check_ray_sampler",
    "check_renderer",
]
