"""From a checked scene to working objects: the data set, the field and its renderer, all that a training works with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fieldengine.config.document import Origin, from_python
from fieldengine.config.parse import Reading, parse_plugin
from fieldengine.config.scene import SceneConfig
from fieldengine.domain import describe, restore
from fieldengine.errors import FieldEngineError, SceneError, is_out_of_memory
from fieldengine.kinds import KINDS
from fieldengine.kinds.dataset import Dataset
from fieldengine.kinds.hook import BatchSampler, GradientTransform, Regularizer
from fieldengine.kinds.parameterization import MixesRows
from fieldengine.kinds.renderer import Renderer
from fieldengine.plugins.blame import blaming, called
from fieldengine.plugins.guest import RefusalError, plugin_of, plugins_of
from fieldengine.plugins.registry import Plugin, Registry
from fieldengine.training.ema import Ema
from fieldengine.training.fit import Fit
from fieldengine.training.loss import LOSSES
from fieldengine.training.measure import fetched, measured
from fieldengine.training.optimizer import adam
from fieldengine.training.trial import USUAL, spread
from fieldengine.training.uniform import UniformSampler
from fieldengine.types import Domain, RunContext


@dataclass
class TrainedField:
    """A field and all that is needed to use it, without its data.

    Attributes:
        recipe: the plain options it is built from.
        plugins: those that they name.
    """

    field: nn.Module
    renderer: Renderer
    domain: Domain
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()


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
    with placed("dataset", scene.plain["dataset"]):
        dataset = scene.dataset.build(context=context)
        with called("build", plugins_of(scene.dataset)):
            restore(json.loads(json.dumps(describe(dataset.domain))), context.device, Registry())
    return dataset


def build_fit(scene: SceneConfig, dataset: Dataset, context: RunContext) -> tuple[Fit, TrainedField]:
    """Everything a training works with, checked before any of it is spent."""
    training, domain = scene.training, dataset.domain
    trained = build_trained(scene.field, scene.renderer, domain, context, scene.plain)
    with placed("operator", scene.plain["operator"]):
        operator = scene.operator.build(domain=domain)
    batch_size = dataset.n_items if training.batch_size == "full" else training.batch_size
    parts: list[Any] = [trained.field, trained.renderer, dataset]
    fit = Fit(
        dataset=dataset,
        field=trained.field,
        renderer=trained.renderer,
        operator=operator,
        optimizer=adam([trained.field], training.lr),
        ema=Ema(trained.field, training.ema),
        joint=any(isinstance(module, MixesRows) and module.mixes_rows for module in trained.field.modules()),
        loss=LOSSES[training.loss],
        sampler=UniformSampler(context.device_generator, context.device),
        context=context,
        batch_size=min(batch_size, dataset.n_items),
        tile=USUAL[context.device.type] if training.tile == "auto" else training.tile,
        clip=training.clip,
        plugins=scene.plugins,
    )
    own = ((dataset, scene.dataset), (trained.renderer, scene.renderer), (operator, scene.operator))
    fit.provenance = [(part, plugin_of(options)) for part, options in own]
    _try_once(scene, fit)
    hooks = [_build_hook(scene, i, fit) for i in range(len(training.hooks))]
    place(hooks, [plain["type"] for plain in scene.plain["training"]["hooks"]], fit)
    fit.provenance += [(hook, plugin_of(options)) for hook, options in zip(hooks, training.hooks, strict=True)]
    fit.optimizer = adam([part for part in [*parts, *hooks] if isinstance(part, nn.Module)], training.lr)
    return fit, trained


def build_trained(
    field_options: Any, renderer_options: Any, domain: Domain, context: RunContext, plain: Mapping[str, Any]
) -> TrainedField:
    """A field and its renderer for a domain, initialised from the context's seed.

    Global random state is left as it was.
    """
    cuda = [context.device] if context.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(context.seed)
        with placed("field", plain["field"]):
            module = field_options.build(
                in_dim=domain.aabb.dim, out_dim=domain.out_dim, aabb=domain.aabb, n_cameras=domain.n_cameras
            )
        with placed("renderer", plain["renderer"]):
            renderer = renderer_options.build(aabb=domain.aabb)
    recipe = {"field": plain["field"], "renderer": plain["renderer"]}
    if "dataset" in plain:
        recipe["dataset"] = plain["dataset"]["type"]
    plugins = plugins_of(field_options, renderer_options)
    return TrainedField(module.to(context.device).eval(), renderer.to(context.device), domain, recipe, plugins)


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
    if "dataset" in recipe:
        plain["dataset"] = {"type": recipe["dataset"]}
    return build_trained(field_options, renderer_options, domain, context, plain)


def _build_hook(scene: SceneConfig, i: int, fit: Fit) -> Any:
    with placed(f"training.hooks.{i}", scene.plain["training"]["hooks"][i]):
        return scene.training.hooks[i].build(
            field=fit.field,
            domain=fit.dataset.domain,
            n_items=fit.dataset.n_items,
            steps=scene.training.steps,
            context=fit.context,
        )


def place(hooks: Sequence[Any], names: Sequence[str], fit: Fit) -> None:
    """Give each hook its places in the step. Raises SceneError where two want the same one."""
    for kind, what in ((BatchSampler, "chooses batches"), (GradientTransform, "changes gradients")):
        fitting = [name for name, hook in zip(names, hooks, strict=True) if isinstance(hook, kind)]
        if len(fitting) > 1:
            both = " and ".join(f'"{name}"' for name in fitting)
            raise SceneError(f"{both} each {what}; one run has room for one of them", key="training.hooks")
    for hook in hooks:
        if isinstance(hook, BatchSampler):
            fit.sampler = hook
        if isinstance(hook, GradientTransform):
            fit.transform, fit.span = hook, hook.span
    fit.regularizers = [hook for hook in hooks if isinstance(hook, Regularizer)]


def _try_once(scene: SceneConfig, fit: Fit) -> None:
    """Render a few items, so that what does not fit is found before training and said in words."""
    context, dataset, plain = fit.context, fit.dataset, scene.plain
    state = context.random_state()
    n = min(4, dataset.n_items)
    with blaming(scene.plugins), called("batch", plugins_of(scene.dataset)):
        batch = fetched(fit, spread(dataset.n_items, n, context.device), context.device_generator)
    with placed("operator", plain["operator"]), called("places", plugins_of(scene.operator)):
        places = fit.operator.places(batch.items)
    looking = plugins_of(scene.renderer, scene.field)
    with placed("renderer", plain["renderer"]), called("check", looking):
        fit.renderer.check(fit.field, type(places))
    looking += plugins_of(scene.operator)
    with placed("renderer", plain["renderer"]), blaming(scene.plugins), called("render", looking), torch.no_grad():
        values = measured(fit, fit.field, batch, None)[0].values
    context.set_random_state(state)
    if values.shape != batch.targets.shape:
        measured_so = plain["operator"]["type"] != KINDS["operators"].default
        further = f' and "{plain["operator"]["type"]}"' if measured_so else ""
        raise SceneError(
            f'"{plain["field"]["type"]}" with "{plain["renderer"]["type"]}"{further} gives values of shape '
            f"{tuple(values.shape)} for {n} items; the data has {tuple(batch.targets.shape)}",
            key="operator" if measured_so else "field",
        )


@contextmanager
def placed(key: str, plain: Mapping[str, Any]) -> Iterator[None]:
    """What a plugin refuses inside the block becomes an error that names the key at which it stands."""
    try:
        yield
    except RefusalError as reason:
        raise SceneError(str(reason), key=reason.key or f"{key} ({plain['type']})") from reason
    except ValueError as reason:
        raise SceneError(str(reason), key=f"{key} ({plain['type']})") from reason
    except (MemoryError, RuntimeError) as reason:
        if not is_out_of_memory(reason):
            raise
        raise SceneError("needs more memory than this machine has", key=f"{key} ({plain['type']})") from reason
