"""The one place where scene, registry and classes meet: options become working objects."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.document import Origin, from_python
from fieldengine.errors import FieldEngineError, PluginError, SceneError, is_out_of_memory
from fieldengine.options import Reading, parse_plugin
from fieldengine.protocols import BatchSampler, Dataset, GradientTransform, MixesRows, Regularizer
from fieldengine.registry import Plugin, Registry
from fieldengine.scene import SceneConfig
from fieldengine.training.ema import Ema
from fieldengine.training.loss import LOSSES
from fieldengine.training.optimizer import adam
from fieldengine.training.samplers import UniformSampler
from fieldengine.training.step import Fit
from fieldengine.training.tile import USUAL, spread
from fieldengine.types import Domain, RunContext

ROLES = {  # and what each has, the first of which shows that it is meant
    "BatchSampler": ("select",),
    "GradientTransform": ("adjust", "prepare", "span"),
    "Regularizer": ("penalty", "grid"),
}
SPANS = ("item", "tile", "batch")


@dataclass
class TrainedField:
    """A field and all that is needed to use it, without its data. `recipe` holds the plain options it is built from."""

    field: nn.Module
    renderer: Any
    domain: Domain
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)


def choose_device(wanted: str) -> torch.device:
    """`auto` takes the GPU where there is one."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise FieldEngineError(
            "--device cuda: torch finds no CUDA device here. Use --device cpu, or see `fieldengine doctor`"
        )
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and available) else "cpu")


def build_dataset(scene: SceneConfig, context: RunContext) -> Dataset:
    """Read the scene's data."""
    with _named("dataset", scene.plain["dataset"], scene.plugins):
        return offered(scene.dataset.build, context=context)


def build_fit(scene: SceneConfig, dataset: Dataset, context: RunContext) -> tuple[Fit, TrainedField]:
    """Everything a training works with, checked before any of it is spent."""
    training = scene.training
    trained = build_trained(scene.field, scene.renderer, dataset.domain, context, scene.plain, scene.plugins)
    items = type(dataset.batch(torch.zeros(1, dtype=torch.int64, device=context.device), context.generator).items)
    with _named("renderer", scene.plain["renderer"], scene.plugins):
        trained.renderer.check(trained.field, items)
    _try_once(scene, trained, dataset, context)
    built = [_build_hook(scene, i, trained, dataset, context) for i in range(len(training.hooks))]
    hooks, grids = [hook for hook, _ in built], [grid for _, grid in built]
    owners = [
        (hook, _owner(plain["type"], scene.plugins))
        for hook, plain in zip(hooks, scene.plain["training"]["hooks"], strict=True)
    ]
    sampler, transform, regularizers = _places(scene, hooks)
    modules = [trained.field, trained.renderer, *(hook for hook in hooks if isinstance(hook, nn.Module))]
    batch_size = dataset.n_items if training.batch_size == "full" else training.batch_size
    fit = Fit(
        dataset=dataset,
        field=trained.field,
        renderer=trained.renderer,
        optimizer=adam(modules, training.lr),
        ema=Ema(trained.field, training.ema),
        joint=any(isinstance(module, MixesRows) and module.mixes_rows for module in trained.field.modules()),
        loss=LOSSES[training.loss],
        sampler=sampler or UniformSampler(context.generator, context.device),
        context=context,
        batch_size=min(batch_size, dataset.n_items),
        tile=USUAL[context.device.type] if training.tile == "auto" else training.tile,
        clip=training.clip,
        transform=transform,
        regularizers=regularizers,
        grids=[grid for grid in grids if grid is not None],
        owners=owners,
    )
    return fit, trained


def build_trained(
    field_options: Any,
    renderer_options: Any,
    domain: Domain,
    context: RunContext,
    plain: Mapping[str, Any],
    plugins: Sequence[Plugin],
) -> TrainedField:
    """A field and its renderer for a domain, initialised from the context's seed.

    Global random state is left as it was.
    """
    cuda = [context.device] if context.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(context.seed)
        with _named("field", plain["field"], plugins):
            module = offered(field_options.build, in_dim=domain.aabb.dim, out_dim=domain.out_dim, aabb=domain.aabb)
        with _named("renderer", plain["renderer"], plugins):
            renderer = offered(renderer_options.build, aabb=domain.aabb)
    recipe = {"field": plain["field"], "renderer": plain["renderer"]}
    return TrainedField(module.to(context.device).eval(), renderer.to(context.device), domain, recipe)


def rebuild(
    recipe: Mapping[str, Any], domain: Domain, device: torch.device, registry: Registry, source: Path, seed: int = 0
) -> TrainedField:
    """A field and its renderer from plain options, as in checkpoints and field files; tensors are loaded later."""
    reading = Reading(registry)
    origin = Origin(base=source.parent, file=source)
    field_options, plain_field = parse_plugin("fields", from_python(recipe["field"], origin), "field", reading)
    renderer_options, plain_renderer = parse_plugin(
        "renderers", from_python(recipe["renderer"], origin), "renderer", reading
    )
    context = RunContext(device, torch.Generator().manual_seed(seed), seed)
    plain = {"field": plain_field, "renderer": plain_renderer}
    return build_trained(field_options, renderer_options, domain, context, plain, reading.used)


def offered(build: Callable[..., Any], **known: Any) -> Any:
    """Call `build` with those of the known things that it names. Raises PluginError where it names anything else."""
    wanted = inspect.signature(build).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values()):
        return build(**known)
    unknown = [name for name, parameter in wanted.items() if name not in known and parameter.default is parameter.empty]
    if unknown:
        offers = ", ".join(known)
        raise PluginError(f"{build.__qualname__} asks for {', '.join(unknown)}; the engine offers {offers}")
    return build(**{name: known[name] for name in wanted if name in known})


def _build_hook(
    scene: SceneConfig, i: int, trained: TrainedField, dataset: Dataset, context: RunContext
) -> tuple[Any, Tensor | None]:
    """A hook, and the grid of points for its penalty if it has one."""
    plain = scene.plain["training"]["hooks"][i]
    with _named(f"training.hooks.{i}", plain, scene.plugins):
        hook = offered(
            scene.training.hooks[i].build,
            field=trained.field,
            domain=dataset.domain,
            n_items=dataset.n_items,
            steps=scene.training.steps,
            context=context,
        )
        _check_roles(hook)
        return hook, dataset.domain.aabb.grid(hook.grid) if isinstance(hook, Regularizer) else None


def _check_roles(hook: Any) -> None:
    """Raise PluginError where a hook has no role, or a part of one."""
    meant = {role: members for role, members in ROLES.items() if callable(getattr(hook, members[0], None))}
    if not meant:
        listing = "; ".join(f"{', '.join(members)} ({role})" for role, members in ROLES.items())
        raise PluginError(f"{type(hook).__name__} offers nothing that the engine asks for: {listing}")
    for role, members in meant.items():
        missing = [name for name in members if not hasattr(hook, name)]
        if missing:
            raise PluginError(f"{type(hook).__name__} has no {' and no '.join(missing)}, which a {role} has, too")
    if isinstance(hook, GradientTransform) and hook.span not in SPANS:
        raise PluginError(f'span "{hook.span}" is none of {", ".join(SPANS)}')


def _owner(name: str, plugins: Sequence[Plugin]) -> str:
    """A hook as a message names it."""
    name = name.rpartition(":")[2]
    found = next(plugin for plugin in plugins if (plugin.kind, plugin.name) == ("hooks", name))
    return f'hook "{name}" of {found.distribution} {found.version}'


def _places(
    scene: SceneConfig, hooks: list[Any]
) -> tuple[BatchSampler | None, GradientTransform | None, list[Regularizer]]:
    names = [plain["type"] for plain in scene.plain["training"]["hooks"]]
    found: dict[str, Any] = {}
    for kind, what in ((BatchSampler, "chooses batches"), (GradientTransform, "changes gradients")):
        fitting = [(name, hook) for name, hook in zip(names, hooks, strict=True) if isinstance(hook, kind)]
        if len(fitting) > 1:
            both = " and ".join(f'"{name}"' for name, _ in fitting)
            raise SceneError(f"{both} each {what}; one run has room for one of them", key="training.hooks")
        found[kind.__name__] = fitting[0][1] if fitting else None
    return found["BatchSampler"], found["GradientTransform"], [hook for hook in hooks if isinstance(hook, Regularizer)]


def _try_once(scene: SceneConfig, trained: TrainedField, dataset: Dataset, context: RunContext) -> None:
    """Render a few items, so that shapes that do not fit are found before training and said in words."""
    state = context.generator.get_state()
    n = min(4, dataset.n_items)
    batch = dataset.batch(spread(dataset.n_items, n, context.device), context.generator)
    with torch.no_grad():
        values = trained.renderer.render(trained.field, batch.items, background=batch.background, generator=None).values
    context.generator.set_state(state)
    if values.shape != batch.targets.shape:
        raise SceneError(
            f'"{scene.plain["field"]["type"]}" with "{scene.plain["renderer"]["type"]}" gives values of shape '
            f"{tuple(values.shape)} for {n} items; the data has {tuple(batch.targets.shape)}",
            key="field",
        )


@contextmanager
def _named(key: str, plain: Mapping[str, Any], plugins: Sequence[Plugin]) -> Iterator[None]:
    """A plugin's ValueError becomes an error that names the block, a PluginError one that names its distribution."""
    try:
        yield
    except ValueError as reason:
        raise SceneError(str(reason), key=f"{key} ({plain['type']})") from reason
    except PluginError as reason:
        name = plain["type"].rpartition(":")[2]
        owner = next((plugin for plugin in plugins if plugin.name == name), None)
        if owner is None or reason.distribution:
            raise
        raise PluginError(
            reason.reason, plugin=f'{key} "{name}"', distribution=owner.distribution, version=owner.version
        ) from reason
    except (MemoryError, RuntimeError) as reason:
        if not is_out_of_memory(reason):
            raise
        raise SceneError("needs more memory than this machine has", key=f"{key} ({plain['type']})") from reason
