"""`autostage`: a Python function becomes a stage.

The decorator's arguments and the function's defaults are the config; so is the hash of the
function's code. In the function, promises arrive as paths to write to, and other stages as
attributes (see `attributes.py`).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import update_wrapper
from typing import Any, TypeVar, overload

from plxnix.attributes import View
from plxnix.config import Config
from plxnix.errors import InvalidValue
from plxnix.model import DRef
from plxnix.realize.build import Build, build_wrapper
from plxnix.realize.matchers import match_latest, match_only
from plxnix.realize.registry import (
    REGISTRY_ARGUMENTS,
    Matcher,
    Registry,
    call_stage,
    current_registry,
    find_registry,
    mkdrv,
)
from plxnix.snapshots import keep

F = TypeVar("F", bound=Callable[..., object])

#: Parameters that are not config: what they receive is made for each run.
SUPPLIED = ("build", "rindex")


class AutoStage:
    """A stage made of a function: calling it registers the derivation and returns its reference.

    Keyword arguments of the call override the config. The registry may be passed as `r=`, `m=`,
    `registry=`, or as the only positional argument.
    """

    def __init__(
        self,
        function: Callable[..., object],
        config: Mapping[str, Any],
        nouts: int = 1,
        matcher: Matcher | None = None,
        always_multiref: bool = False,
        sourcedeps: Sequence[object] = (),
        version: str | None = None,
        registry: Registry | None = None,
        pure: bool = False,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        if not callable(function):
            raise InvalidValue(f"{function!r:.80} is no function", "write @autostage above one")
        self.function = function
        self.resources = dict(resources or {})
        self.nouts = nouts
        self.pure = pure
        self.matcher = matcher or (match_only() if pure else match_latest(nouts))
        self.always_multiref = always_multiref
        self.sourcedeps = tuple(sourcedeps)
        self.version = version
        self.registry = registry
        if pure:
            self._check_pure()
        self._parameters = inspect.signature(function).parameters
        if pure:
            self._check_parameters()
        self.config = self._defaults(config)
        self._source: str | None = None
        body = _Body(function, tuple(self._parameters), self._takes_more(), always_multiref)
        self._realizer = build_wrapper(body, nouts)
        if version is None:
            keep(function)
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<stage {self.config['name']}>"

    def _defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        config: dict[str, Any] = {"name": getattr(self.function, "__name__", "unnamed")}
        for name, parameter in self._parameters.items():
            if parameter.default is not parameter.empty and name not in SUPPLIED:
                if name in given:
                    raise InvalidValue(
                        f"{self.function.__qualname__}: {name} is given to the decorator and as "
                        "the parameter's default",
                        "leave one of them out",
                    )
                config[name] = parameter.default
        return {**config, **given}

    def _check_pure(self) -> None:
        """Refuse what would be no derivation."""
        label = getattr(self.function, "__qualname__", repr(self.function))
        refused = (
            (self.nouts != 1, f"nouts={self.nouts}", "a pure stage gives the same bytes each time"),
            (bool(self.sourcedeps), "sourcedeps", "all that a pure stage uses is its code"),
            (self.version is not None, "version", "the program of a pure stage is its version"),
        )
        for wrong, what, why in refused:
            if wrong:
                raise InvalidValue(f"{label} is pure and has {what}: {why}", f"leave {what} out")
        from plxnix.purecode.program import plain

        plain(self.function, label)

    def _check_parameters(self) -> None:
        for name, what in (
            ("build", "there is no Build where a pure stage runs"),
            ("env", "env= is the environment that a pure stage runs in"),
            ("tools", "tools= are the programs that a pure stage has on its PATH"),
        ):
            if name in self._parameters:
                raise InvalidValue(
                    f"the pure stage {self.function.__qualname__} has a parameter {name}: {what}",
                    "leave it out, or give it another name",
                )

    @property
    def source(self) -> str:
        """The hash of the code, or the version that stands in for it; if pure, the program."""
        if self._source is not None:
            return self._source
        if self.pure:
            from plxnix.purecode import program

            source = program(self.function)
        elif self.version is None:
            from plxnix.codehash import codehash

            source = codehash([self.function, *self.sourcedeps])
        else:
            source = f"version {self.version}"
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        if code is None or os.path.isfile(code.co_filename):
            self._source = source  # What a cell of a notebook uses may be another next time.
        return source

    def __call__(self, given: Registry | None = None, /, **changes: Any) -> DRef:
        """Register the stage's derivation, with `changes` to its config.

        Raises `InvalidValue` for a parameter without a value, `NoRegistry`, and what `mkdrv` does.
        """
        for name in REGISTRY_ARGUMENTS:
            if isinstance(changes.get(name), Registry):
                given = changes.pop(name)
            elif name in changes and changes[name] is None and name not in self._parameters:
                del changes[name]
        registry = find_registry(given or self.registry)
        config = {**self.config, **changes}
        self._check(config)
        with current_registry(registry):
            fields = {name: _instantiated(value, registry) for name, value in config.items()}
            fields["__source__"] = self.source
            if self.pure:
                return self._pure(fields)
            return mkdrv(Config(fields), self.matcher, self._realizer, resources=self.resources)

    def _pure(self, fields: dict[str, Any]) -> DRef:
        from plxnix.recipes.pure import pure_stage

        env, tools = fields.pop("env", None), fields.pop("tools", ())
        dref = pure_stage(fields, self.matcher, env, tools, self.always_multiref)
        if self.resources:
            derivations = find_registry().derivations
            derivations[dref] = replace(derivations[dref], resources=self.resources)
        return dref

    def _check(self, config: Mapping[str, Any]) -> None:
        missing = [
            name
            for name, parameter in self._parameters.items()
            if name not in config
            and name not in SUPPLIED
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        if missing:
            raise InvalidValue(
                f"the stage {self.function.__qualname__} has no value for {', '.join(missing)}",
                "give it to the decorator, as a default, or when calling the stage",
            )

    def _takes_more(self) -> bool:
        return any(one.kind is one.VAR_KEYWORD for one in self._parameters.values())


@dataclass(frozen=True)
class _Body:
    """What runs of a stage: its function, with no more of the stage than it takes to call it.

    `names` are those of the parameters; with `takes_more` any other comes too.
    """

    function: Callable[..., object]
    names: tuple[str, ...]
    takes_more: bool
    always_multiref: bool

    def __call__(self, build: Build) -> None:
        """Call the function for each output folder."""
        fields = build.config.resolved()
        for index, outpath in enumerate(build.outpaths):
            view = View(build.store, build.context, build.dref, outpath, self.always_multiref)
            supplied = {"build": build, "rindex": index}
            arguments = {
                name: view.show(value) for name, value in fields.items() if self._accepts(name)
            }
            arguments.update((k, v) for k, v in supplied.items() if k in self.names)
            self.function(**arguments)

    def _accepts(self, name: str) -> bool:
        if name.startswith("__") and name.endswith("__"):
            return False  # The hash of the code, and what other parts of plxnix have noted.
        return name in self.names or (name != "name" and self.takes_more)


def _instantiated(value: Any, registry: Registry) -> Any:
    """Replace stages by their references, in lists and dicts too."""
    if callable(value):
        return call_stage(value, registry, (), {})
    if isinstance(value, list):
        return [_instantiated(item, registry) for item in value]
    if isinstance(value, dict):
        return {key: _instantiated(item, registry) for key, item in value.items()}
    return value


@overload
def autostage(function: Callable[..., object], /) -> AutoStage: ...


@overload
def autostage(
    *,
    nouts: int = ...,
    matcher: Matcher | None = ...,
    always_multiref: bool = ...,
    sourcedeps: Sequence[object] = ...,
    version: str | None = ...,
    registry: Registry | None = ...,
    r: Registry | None = ...,
    pure: bool = ...,
    resources: Mapping[str, float] | None = ...,
    **config: Any,
) -> Callable[[Callable[..., object]], AutoStage]: ...


def autostage(
    function: Callable[..., object] | None = None,
    /,
    *,
    nouts: int = 1,
    matcher: Matcher | None = None,
    always_multiref: bool = False,
    sourcedeps: Sequence[object] = (),
    version: str | None = None,
    registry: Registry | None = None,
    r: Registry | None = None,
    pure: bool = False,
    resources: Mapping[str, float] | None = None,
    **config: Any,
) -> AutoStage | Callable[[Callable[..., object]], AutoStage]:
    """Make a stage of a function.

    - A parameter `out=[selfref, "file"]` promises a file; the function gets the path to write to.
    - A parameter that is another stage, a reference or a list of them makes it a dependency; the
      function gets its attributes, or a list of them where several realizations are selected or
      `always_multiref` is true.
    - Other values are JSON and arrive as they are. `name` (default: the function's) names the
      derivation.
    - `build` and `rindex`, if the function has them, receive the `Build` and the number of the
      realization, from 0 to `nouts` - 1: one run makes `nouts` realizations.
    - `matcher` (default: `match_latest(nouts)`) selects among the realizations.
    - `sourcedeps` are further objects whose source counts as the stage's; `version` replaces the
      hash of the code by a text of your own.
    - `resources` is what a run needs of what is limited, such as `{"cpus": 2, "gpus": 1}`; it is no
      part of the config.
    - With `pure` the stage is a derivation: a Python 3 runs the function's source, with what it
      uses of the user's own modules, in the sandbox, and an export does the same in Nix. `env` is a
      stage that has `bin/python` (default: `python3` of the toolchain), `tools` are attributes of
      nixpkgs put on PATH. Its default matcher is `match_only()`. It gets paths, attributes of
      dependencies and JSON as others do; a dependency's field that leads to further stages is there
      if its name occurs in the code. plxnix is not there, nor is the environment of this process.

    Raises `InvalidValue` for a parameter that is given twice, and for what a pure stage cannot
    have: `nouts`, `sourcedeps`, `version`, the parameter `build`. What its code uses is looked at
    when the stage is called: `CodeHashError`, and `InvalidValue` for values that are no literals.
    """

    def decorate(function: Callable[..., object]) -> AutoStage:
        return AutoStage(
            function,
            config,
            nouts,
            matcher,
            always_multiref,
            sourcedeps,
            version,
            registry or r,
            pure,
            resources,
        )

    return decorate if function is None else decorate(function)
