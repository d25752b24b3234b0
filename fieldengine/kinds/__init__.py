"""The kinds of plugin, a file each: what a plugin of the kind offers, what it is offered, and how that is checked."""

from fieldengine.kinds import (
    activation,
    camera,
    dataset,
    encoding,
    exporter,
    field,
    hook,
    metric,
    operator,
    parameterization,
    ray_sampler,
    renderer,
)
from fieldengine.kinds.kind import Kind

KINDS: dict[str, Kind] = {
    module.KIND.group: module.KIND
    for module in (
        dataset,
        camera,
        operator,
        field,
        encoding,
        activation,
        parameterization,
        renderer,
        ray_sampler,
        hook,
        metric,
        exporter,
    )
}
