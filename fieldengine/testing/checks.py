"""One check per kind of plugin. A check tries what the kind's file promises on a small sample."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.config.parse import check_keys
from fieldengine.errors import PluginError
from fieldengine.fields.mlp import MLP
from fieldengine.kinds import KINDS, dataset, metric, operator, ray_sampler, renderer
from fieldengine.kinds.exporter import Trained
from fieldengine.kinds.field import RadianceField, SignalField, SurfaceField
from fieldengine.ops import intersect_aabb
from fieldengine.plugins.blame import called
from fieldengine.plugins.guest import Guest, plugins_of
from fieldengine.plugins.registry import Plugin
from fieldengine.testing.compare import check_module, close, generator, places, reaches, same, same_batch, seeded
from fieldengine.testing.sample import Tanh, ball, context, joined
from fieldengine.training.fit import Fit
from fieldengine.training.loop import Progress, restore, state_of
from fieldengine.training.step import training_step
from fieldengine.types import Aabb, Batch, Domain, Items


def check_encoding(options: Any, *, in_dim: int = 3) -> None:
    """An encoding: float32 (m, out_dim), row by row, with gradient."""
    with checking(options, "encodings") as guest:
        check_module(lambda: guest.build(in_dim), lambda module, x: module(x), places(64, in_dim))


def check_activation(options: Any, *, in_dim: int = 4, width: int = 8) -> None:
    """An activation: a first, a hidden and a last layer in a row."""
    with checking(options, "activations") as guest:
        check_module(
            lambda: MLP(in_dim, 3, width=width, depth=2, activation=guest),
            lambda module, x: module(x),
            places(64, in_dim),
        )


def check_parameterization(options: Any, *, width: int = 8) -> None:
    """A parameterization: layers of tanh that keep what they map, with gradient in all that they hold."""
    with checking(options, "parameterizations") as guest:
        check_module(
            lambda: MLP(2, 3, width=width, depth=2, activation=Tanh(), parameterization=guest).eval(),
            lambda module, x: module(x),
            places(64, 2),
        )


def check_field(options: Any, *, in_dim: int = 3, out_dim: int = 3) -> None:
    """A field: each of its offers in a box that is not around the origin; density >= 0, colours in [0, 1]."""
    box = Aabb.of([3.0] * in_dim, [5.0] * in_dim)
    with checking(options, "fields") as guest:
        check_module(
            lambda: guest.build(in_dim=in_dim, out_dim=out_dim, aabb=box, n_cameras=0),
            answers,
            box.from_unit(places(64, in_dim)),
        )


def check_renderer(options: Any, *, field: nn.Module, items: Items, aabb: Aabb, background: Tensor | None) -> None:
    """A renderer: fixed values in evaluation, jittered ones by the generator alone; gradient in all of the field.

    Args:
        field: one that it can render, with parameters on which every value depends.
        items: some that it can render; `background` (n, c) lies behind them, or None.
    """
    with checking(options, "renderers") as guest:
        made: Any = seeded(lambda: guest.build(aabb=aabb))
        refuses_a_field_without_offers(made, type(items))
        made.check(field, type(items))
        made.update(field, 0, generator())

        def values(built: Any, some: Items = items, seed: int | None = None) -> Tensor:
            with torch.no_grad():
                random = None if seed is None else generator(seed)
                rendered = built.render(
                    field, some, background=None if background is None else background[: len(some)], generator=random
                )
            renderer.check_rendered(rendered, len(some))
            return rendered.values

        same(values(made), values(made), "the same values of the same items without a generator")
        same(values(made, seed=1), values(made, seed=1), "the same values of generators in the same state")
        half = len(items) // 2
        close(values(made, items[:half]), values(made)[:half], "values of an item that do not depend on the others")
        rendered = made.render(field, items, background=background, generator=generator(1))
        renderer.check_rendered(rendered, len(items))
        reaches(field, rendered.values)
        again: Any = seeded(lambda: guest.build(aabb=aabb), seed=1)
        again.load_state_dict(copy.deepcopy(made.state_dict()))
        same(values(again), values(made), "the same values once the state of another is loaded")


def check_ray_sampler(options: Any, *, aabb: Aabb | None = None) -> None:
    """A ray sampler: packed samples inside the box, none where a ray misses it, jittered by the generator alone."""
    box = aabb or Aabb.of([3.0, -1.0, 0.0], [5.0, 1.0, 4.0])
    with checking(options, "ray_samplers") as guest:
        made: Any = seeded(lambda: guest.build(aabb=box))
        rays = ray_sampler.rays_through(box)

        def density(x: Tensor) -> Tensor:
            return 1.0 + box.to_unit(x)[:, 0] ** 2

        def sampled(sampler: Any, seed: int | None = None) -> Any:
            with torch.no_grad():
                samples = sampler.sample(rays, density, None if seed is None else generator(seed))
            ray_sampler.check_samples(samples, len(rays))
            return samples

        made.update(density, 0, generator())
        near, far = intersect_aabb(rays, box)
        for seed in (None, 1):
            samples = sampled(made, seed)
            ray = samples.ray_indices
            if not bool(torch.isin(torch.arange(2), ray).all()) or bool((ray == 2).any()):
                raise PluginError("expected samples on each ray that meets the box and none on one that misses it")
            slack = 1e-4 * box.diagonal
            if bool((samples.t_starts < near[ray] - slack).any() | (samples.t_ends > far[ray] + slack).any()):
                raise PluginError("expected samples inside the box, found some outside")
            again = sampled(made, seed)
            same(again.t_starts, samples.t_starts, "the same samples of generators in the same state")
            same(again.t_ends, samples.t_ends, "the same samples of generators in the same state")
        for wanted in (1, 100, 1 << 20):
            renderer.check_max_batch(made.max_batch(wanted), wanted)
        other: Any = seeded(lambda: guest.build(aabb=box), seed=1)
        other.load_state_dict(copy.deepcopy(made.state_dict()))
        same(sampled(other).t_starts, sampled(made).t_starts, "the same samples once the state of another is loaded")


def check_camera(options: Any, *, parameters: tuple[float, ...] | None = None, focal: float = 3000.0) -> None:
    """A camera model: places within half a focal length of the centre come back to 1e-4 pixel, and with gradient.

    Args:
        parameters: of a lens; None takes one without distortion, all zero.
        focal: length in pixels.
    """
    with checking(options, "cameras") as guest:
        numbers = torch.tensor(parameters or (0.0,) * guest.n_parameters, dtype=torch.float64).expand(200, -1)
        numbers = numbers.clone().requires_grad_()
        plane = 0.5 * places(200, 2).double()
        origins, directions = guest.unproject(plane, numbers)
        starts = torch.zeros_like(directions) if origins is None else origins
        back = guest.project(starts + 2.0 * directions, numbers)
        off = focal * float((back - plane).detach().abs().max())
        if not off < 1e-4:
            raise PluginError(f"expected project(unproject(x)) to be x within 1e-4 pixel, found {off:.3g} pixels off")
        if numbers.numel():
            slopes = torch.autograd.grad(directions.sum(), numbers) if directions.requires_grad else []
            if not slopes or not bool(slopes[0].isfinite().all()):
                raise PluginError("expected finite gradient of unproject in the parameters, found none")


def check_operator(options: Any, *, domain: Domain, items: Items) -> None:
    """An operator: as many places as it says, a measurement of each item, and gradient to every value."""
    with checking(options, "operators") as guest:
        made: Any = guest.build(domain=domain)
        found = made.places(items)
        operator.check_places(found, len(items), made.n_places)
        values = torch.rand(len(found), domain.out_dim, generator=generator()).requires_grad_()
        measured = made.measure(values, items)
        operator.check_measured(measured, len(items))
        same(made.measure(values, items), measured, "the same measurements of the same values")
        (gradient,) = torch.autograd.grad(measured.square().sum(), values)
        if not bool(gradient.isfinite().all()) or not gradient.any():
            raise PluginError("expected gradient of the measurements in the values, found none")


def check_metric(options: Any) -> None:
    """A metric of images or signals: a number, better for an equal image than for a noisy one.

    Of a metric of surfaces the class is looked at alone.
    """
    with checking(options, "metrics") as guest:
        metric.check_metric(guest)


def check_dataset(options: Any) -> None:
    """A data set: the seed and the generator alone decide; an item is the same in whatever company."""
    with checking(options, "datasets") as guest:
        one, other = (guest.build(context=context()) for _ in range(2))
        some = torch.arange(min(one.n_items, 50))

        def batch(data: Any, indices: Tensor) -> Batch:
            found = data.batch(indices, generator(7))
            dataset.check_batch(found, len(indices), data.domain)
            return found

        for name, again in (("the same batch twice", one), ("the same batch of data read again", other)):
            same_batch(batch(again, some), batch(one, some), name)
        same_batch(batch(one, some)[: len(some) // 2 + 1], batch(one, some[: len(some) // 2 + 1]), "the same item")
        for split in ("train", "val", "test"):
            dataset.check_views(one.views(split), one.domain)


def check_hook(options: Any, *, steps: int = 2) -> None:
    """A hook: it joins the fit of a small image. Its seed alone decides what comes of it, its state is all of it."""
    with checking(options, "hooks") as guest:

        def made() -> Fit:
            return seeded(lambda: joined(guest))

        def gone_on(fit: Fit, first: int) -> Tensor:
            for step in range(first, first + steps):
                training_step(fit, step)
            return torch.cat([p.detach().flatten() for p in fit.parameters])

        fit = made()
        same(gone_on(made(), 0), gone_on(fit, 0), "the same weights of the same seed")
        state = copy.deepcopy(state_of(fit, Progress(steps)))
        resumed = made()
        restore(resumed, state, "its state")
        same(gone_on(resumed, steps), gone_on(fit, steps), "the same weights when its state is put into another")


def check_exporter(options: Any, out: Path, *, trained: Trained | None = None) -> None:
    """An exporter: it writes the file and one sentence, the same bytes twice, and leaves the field as it was.

    Args:
        out: the file, with an ending that it writes.
        trained: what is exported; None takes a ball as a signed distance.
    """
    with checking(options, "exporters") as guest:
        shown = trained or ball()
        before = copy.deepcopy(shown.field.state_dict())
        written = []
        for _ in range(2):
            sentence = guest.write(shown, out)
            if not sentence.strip() or "\n" in sentence or not out.is_file():
                raise PluginError(f"expected a file and one sentence about it, found {sentence!r}")
            written.append(out.read_bytes())
        if written[0] != written[1]:
            raise PluginError("expected the same bytes twice, found others")
        for name, value in shown.field.state_dict().items():
            same(value, before[name], f"a field that is left as it was; of {name}")


def answers(field: Any, x: Tensor) -> Tensor:
    """All that a field offers at places x, side by side."""
    found = []
    if isinstance(field, SignalField):
        found.append(field.values(x))
    if isinstance(field, SurfaceField):
        found.append(field.sdf(x)[0][:, None])
    if isinstance(field, RadianceField):
        density, features = field.density(x)
        colour = field.rgb(features, torch.nn.functional.normalize(x + 0.1, dim=-1))
        if bool((density < 0).any()) or bool((colour < 0).any() | (colour > 1).any()):
            raise PluginError("expected a density of at least 0 and colours in [0, 1], found others")
        found += [density[:, None], colour]
    return torch.cat(found, dim=-1)


@contextmanager
def checking(options: Any, kind: str) -> Iterator[Any]:
    """The options as the engine holds them, once their class is known to be a plugin's; what fails inside is theirs."""
    guest = options if isinstance(options, Guest) else Guest(options, plugin(type(options), kind), KINDS[kind].word)
    with called("its checks", plugins_of(guest)):
        check_keys(guest.plugin.checked(type(guest.options)))
        yield guest


def plugin(cls: type[Any], kind: str) -> Plugin:
    """What an entry point of this class would be."""
    entry = EntryPoint(cls.__name__, f"{cls.__module__}:{cls.__qualname__}", f"fieldengine.{kind}")
    return Plugin(kind, cls.__name__, cls.__module__.partition(".")[0], "", entry)


def refuses_a_field_without_offers(made: Any, items: type[Items]) -> None:
    try:
        made.check(nn.Linear(1, 1), items)
    except ValueError as reason:
        if str(reason).strip():
            return
    raise PluginError("expected check to refuse a field that offers nothing, by a ValueError that says why")
