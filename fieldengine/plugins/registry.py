"""The one registry: (kind, name) -> class, by entry point, loaded only when a scene names it.

A kind is the last part of an entry-point group: `fieldengine.encodings` holds the kind `encodings`. Nothing is
imported until `load` asks for it, so a broken plugin costs only the scenes that use it.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

from fieldengine.errors import PluginError, did_you_mean
from fieldengine.kinds import KINDS
from fieldengine.kinds.kind import API_VERSIONS, Kind, Verb

OWN_DISTRIBUTION = "fieldengine"


@dataclass(frozen=True)
class Plugin:
    """One entry point and the distribution it came with."""

    kind: str
    name: str
    distribution: str
    version: str
    entry_point: EntryPoint

    @property
    def contract(self) -> Kind:
        """What a plugin of its kind offers, and is offered."""
        return KINDS[self.kind]

    @property
    def is_own(self) -> bool:
        """Whether it comes with the engine."""
        return self.distribution.lower() == OWN_DISTRIBUTION

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.name, self.distribution

    @property
    def root(self) -> Path | None:
        """Where its code lies: the folder of its top-level package, or its file. None before it is loaded."""
        module = self.entry_point.module
        for name in (module.partition(".")[0], module):
            file = getattr(sys.modules.get(name), "__file__", None)
            if file is not None:
                return Path(file).parent if Path(file).name == "__init__.py" else Path(file)
        return None

    def load(self) -> type[Any]:
        """Import the class and check that it is what its kind asks for. Raises PluginError with the reason."""
        try:
            found = self.entry_point.load()
        except (Exception, SystemExit) as reason:  # whatever a stranger's module does on import must not end the engine
            raise self.error(f"cannot be loaded: {type(reason).__name__}: {reason}") from reason
        return self.checked(found)

    def checked(self, found: Any) -> type[Any]:
        """The class, once it is known to be what its kind asks for. Raises PluginError with the reason."""
        if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
            raise self.error(
                f"{self.entry_point.value} is not a dataclass; a plugin is a frozen dataclass of its options"
            )
        if not found.__dataclass_params__.frozen:  # pyright: ignore[reportAttributeAccessIssue]
            raise self.error(f"{self.entry_point.value} is not frozen; write @dataclass(frozen=True)")
        missing = [name for name in self.contract.verbs if not callable(getattr(found, name, None))]
        if missing:
            raise self.error(f"{self.entry_point.value} has no {' and no '.join(missing)}(), which {self.kind} need")
        for name, verb in self.contract.verbs.items():
            complaint = _complaint(found, name, verb)
            if complaint:
                raise self.error(f"{self.entry_point.value}: {complaint}")
        unnamed = [name for name, type_ in self.contract.constants.items() if not isinstance(_of(found, name), type_)]
        if unnamed:
            raise self.error(f"{self.entry_point.value} has no {' and no '.join(unnamed)}, which {self.kind} need")
        wanted = getattr(found, "api_version", API_VERSIONS[-1])
        if wanted not in API_VERSIONS:
            known = ", ".join(map(str, API_VERSIONS))
            raise self.error(f"asks for plugin API {wanted}; this fieldengine knows {known}. Install a matching pair")
        try:
            self.contract.check_class(found)
        except PluginError as reason:
            raise self.error(f"{self.entry_point.value}: {reason.reason}") from reason
        return found

    def error(self, reason: str) -> PluginError:
        """What is wrong with this plugin, as an error that names it and its distribution."""
        name = f'{self.kind} plugin "{self.name}"'
        return PluginError(reason, plugin=name, distribution=self.distribution, version=self.version)

    def as_dict(self) -> dict[str, str]:
        return {"kind": self.kind, "name": self.name, "distribution": self.distribution, "version": self.version}


class Registry:
    """All plugins that are installed.

    FIELDENGINE_DISABLE_PLUGINS=1 leaves only the engine's own; a comma-separated list
    of distributions leaves out those."""

    def __init__(self) -> None:
        disabled = os.environ.get("FIELDENGINE_DISABLE_PLUGINS", "")
        names = {part.strip().lower() for part in disabled.split(",") if part.strip()}
        self._plugins: dict[str, dict[str, list[Plugin]]] = {kind: {} for kind in KINDS}
        self._left_out: list[Plugin] = []
        seen: set[str] = set()
        for distribution in distributions():
            owner = distribution.metadata["Name"] or "unknown"
            if owner.lower() in seen:  # the first on sys.path shadows later ones, as for imports
                continue
            seen.add(owner.lower())
            third_party = owner.lower() != OWN_DISTRIBUTION
            left_out = third_party and names & {"1", "true", "all", owner.lower()}
            for entry_point in distribution.entry_points:
                prefix, _, kind = entry_point.group.partition(".")
                if prefix == "fieldengine" and kind in KINDS:
                    plugin = Plugin(kind, entry_point.name, owner, distribution.version, entry_point)
                    found = self._left_out if left_out else self._plugins[kind].setdefault(plugin.name, [])
                    found.append(plugin)

    def __iter__(self) -> Iterator[Plugin]:
        for kind in KINDS:
            for name in self.names(kind):
                yield from self._plugins[kind][name]

    def names(self, kind: str) -> list[str]:
        return sorted(self._plugins[kind])

    def default(self, kind: str, name: str) -> str:
        """The name by which a default is looked up: our own where a stranger claims it too.

        Who wrote a name down is asked to choose; who left it to us is not.
        """
        return name if len(self._plugins[kind].get(name, [])) < 2 else f"{OWN_DISTRIBUTION}:{name}"

    def find(self, kind: str, name: str) -> Plugin:
        """The plugin of that kind and name; `dist:name` picks one distribution's. Raises PluginError."""
        owner, _, short = name.rpartition(":")
        singular = KINDS[kind].word
        candidates = self._plugins[kind].get(short, [])
        if owner:
            candidates = [plugin for plugin in candidates if plugin.distribution.lower() == owner.lower()]
        if not candidates:
            installed = self.names(kind)
            listing = ", ".join(installed) or "none"
            reason = f'no {singular} "{name}". Installed: {listing}.{did_you_mean(short, installed)}'
            for plugin in self._left_out:
                if (plugin.kind, plugin.name) == (kind, short):
                    reason += f" {plugin.distribution} has it, but is left out by FIELDENGINE_DISABLE_PLUGINS."
            raise PluginError(reason)
        if len(candidates) > 1:
            owners = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in candidates)
            choice = f"{candidates[0].distribution}:{short}"
            raise PluginError(
                f'{singular} "{name}" is claimed by {owners}. Write "{choice}" to choose, or uninstall one'
            )
        return candidates[0]


def _of(cls: type[Any], name: str) -> Any:
    """A class variable; None where it is only declared, or a key of the plugin's."""
    return None if name in {field.name for field in dataclasses.fields(cls)} else getattr(cls, name, None)


def _complaint(cls: type[Any], name: str, verb: Verb) -> str:
    """What is wrong with the parameters of a plugin's method; empty where nothing is."""
    method = getattr(cls, name)
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except ValueError:  # some callables of other languages have none
        return ""
    if not isinstance(inspect.getattr_static(cls, name), staticmethod | classmethod):
        parameters = parameters[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return ""
    by_place = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_ONLY]
    names = [parameter.name for parameter in parameters if parameter.name not in by_place]
    strange = [p.name for p in parameters if p.default is p.empty and p.name in names and p.name not in verb.offers]
    missing = [name for name in verb.needs if name not in names]
    said = [
        f"asks for {', '.join(strange)}" if strange else "",
        f"takes {', '.join(by_place)} by position alone" if by_place else "",
        f"does not take {', '.join(missing)}" if missing and not by_place else "",
    ]
    if not any(said):
        return ""
    offers = ", ".join(verb.offers)
    called = getattr(method, "__qualname__", name)
    return f"{called} {' and '.join(filter(None, said))}; the engine offers {offers}"
