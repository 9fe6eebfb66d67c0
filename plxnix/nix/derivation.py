"""Derivations as Nix has them, and the computation of their paths.

The output paths of a derivation follow from its text; but what its inputs are made from enters by a
hash that leaves out where fixed outputs come from ("hash modulo"). Source: Nix manual, "Derivation
outputs", and E. Dolstra, "The Purely Functional Software Deployment Model", section 5.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final, TypeVar

from plxnix.errors import InvalidHash, NixFormatError
from plxnix.nix import base32
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import fixed_path, output_path, text_path
from plxnix.nix.quoting import encode, quote

_Value = TypeVar("_Value")

_RECURSIVE: Final = "r:"
_HEX: Final = re.compile("([0-9a-f]{2})+")


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a derivation.

    `algorithm` and `hash` are empty but for a fixed output: `sha256`, or `r:sha256` where the hash
    is of the NAR, and the hash in hex. An algorithm without a hash is an output whose path follows
    from its contents once it is built (Nix's experiment "ca-derivations"); its `path` is empty.
    """

    path: str
    algorithm: str = ""
    hash: str = ""

    @classmethod
    def fixed(cls, name: str, expected: Hash, recursive: bool) -> Output:
        """Return the output of a derivation whose result is known by hash."""
        algorithm = (_RECURSIVE if recursive else "") + expected.algorithm
        return cls(fixed_path(name, expected, recursive), algorithm, expected.hex)

    def fixed_path(self, name: str) -> str:
        """Return the path that a fixed output of the derivation `name` must have.

        Raises `InvalidHash` or `InvalidName`.
        """
        recursive = self.algorithm.startswith(_RECURSIVE)
        algorithm = self.algorithm[len(_RECURSIVE) :] if recursive else self.algorithm
        return fixed_path(name, Hash.parse(self.hash, algorithm), recursive)


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a `.drv` file says; equal by value, apart from the order of mappings.

    `input_derivations` maps `.drv` paths to names of outputs. Strings hold bytes that are not UTF-8
    by `surrogateescape`. Nothing may be changed once `path` was asked for.
    """

    name: str
    system: str
    builder: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    outputs: Mapping[str, Output]
    input_derivations: Mapping[str, tuple[str, ...]]
    input_sources: frozenset[str]
    _path: str = field(default="", init=False, repr=False, compare=False)
    #: What is printed alike each time: sources to arguments, and the variables, in their order.
    _printed: tuple[str, dict[str, str]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def aterm(self, masked: bool = False) -> bytes:
        """Return the text of the `.drv` file, in bytes.

        `masked` leaves the output paths empty, in the outputs and in the environment.
        """
        return encode(self._print(self.input_derivations, masked))

    @property
    def path(self) -> str:
        """The path of the `.drv` file; raises `InvalidName`. Computed once."""
        if not self._path:
            references = {*self.input_sources, *self.input_derivations}
            path = text_path(f"{self.name}.drv", self.aterm(), references)
            object.__setattr__(self, "_path", path)
        return self._path

    @property
    def fixed(self) -> Output | None:
        """The output of a fixed-output derivation; None for any other."""
        output = self.outputs.get("out") if len(self.outputs) == 1 else None
        return output if output is not None and output.hash else None

    def modulo(self, inputs: Mapping[str, str], masked: bool = False) -> bytes:
        """Return the hash by which output paths and dependents know this derivation (32 bytes).

        `inputs` maps the path of each input derivation to its own, unmasked, in hex. Inputs with
        equal hashes become one, with the outputs of both. `masked` is for the derivation's own
        output paths. Raises `NixFormatError` if the hash of an input is missing.
        """
        fixed = self.fixed
        if fixed is not None and not masked:
            described = f"fixed:out:{fixed.algorithm}:{fixed.hash}:{fixed.path}"
            return sha256(described.encode()).digest()
        merged: dict[str, Iterable[str]] = {}
        for path, outputs in self.input_derivations.items():
            known = inputs.get(path)
            if known is None:
                raise NixFormatError(
                    f"the derivation {self.name} needs {path}, which is not known",
                    "add derivations in order, dependencies first",
                )
            merged[known] = {*merged[known], *outputs} if known in merged else outputs
        return sha256(encode(self._print(merged, masked))).digest()

    def with_paths(self, paths: Mapping[str, str]) -> Derivation:
        """Return the derivation with other paths of its outputs, also in the environment.

        The environment has to have a variable for each output. What this derivation has printed is
        not printed again.
        """
        outputs = {
            name: Output(paths[name], output.algorithm, output.hash)
            for name, output in self.outputs.items()
        }
        values = {
            name: placeholder(name) if output.algorithm and not output.path else output.path
            for name, output in outputs.items()
        }
        made = replace(self, outputs=outputs, env={**self.env, **values})
        if self._printed is not None:
            text, pairs = self._printed
            changed = {name: _pair(name, value) for name, value in values.items()}
            object.__setattr__(made, "_printed", (text, {**pairs, **changed}))
        return made

    def _print(self, inputs: Mapping[str, Iterable[str]], masked: bool) -> str:
        if self._printed is None:
            text = (
                f"[{_quoted(_sorted(self.input_sources))}],{quote(self.system)},"
                f"{quote(self.builder)},[{_quoted(self.args)}]"
            )
            pairs = {key: _pair(key, value) for key, value in _sorted_items(self.env)}
            object.__setattr__(self, "_printed", (text, pairs))
        text, pairs = self._printed or ("", {})
        if masked:
            pairs = {**pairs, **{name: _pair(name, "") for name in self.outputs if name in pairs}}
        outputs = [
            f"({quote(name)},{quote('' if masked else one.path)},{quote(one.algorithm)},"
            f"{quote(one.hash)})"
            for name, one in _sorted_items(self.outputs)
        ]
        derivations = [
            f"({quote(path)},[{_quoted(_sorted(names))}])" for path, names in _sorted_items(inputs)
        ]
        return (
            f"Derive([{','.join(outputs)}],[{','.join(derivations)}],{text},"
            f"[{','.join(pairs.values())}])"
        )


class Hasher:
    """Fills in output paths, and remembers the hash of each derivation that it has seen.

    Derivations come dependencies first. Cost: linear in the text of all of them.
    """

    def __init__(self) -> None:
        #: The hash modulo of each .drv path, in hex; empty where it depends on a build.
        self._modulo: dict[str, str] = {}

    def instantiate(self, derivation: Derivation) -> Derivation:
        """Return the derivation with its output paths, in `outputs` and in `env`.

        The paths that it comes with do not count. Raises `NixFormatError` if an input derivation
        was not instantiated or added before, `InvalidName` if a name is not legal.
        """
        names = derivation.outputs
        # Even masked, the environment has the variables of the outputs.
        blank = replace(derivation, env={**derivation.env, **dict.fromkeys(names, "")})
        fixed = derivation.fixed
        if fixed is not None:
            paths = {"out": _fixed_path(derivation, fixed)}
        elif self._depends_on_build(derivation):
            paths = dict.fromkeys(names, "")
        else:
            digest = blank.modulo(self._modulo, masked=True)
            paths = {name: output_path(derivation.name, name, digest) for name in names}
        made = blank.with_paths(paths)
        if made.path not in self._modulo:
            unknown = "" in paths.values()
            self._modulo[made.path] = "" if unknown else made.modulo(self._modulo).hex()
        return made

    def know(self, drv_path: str, modulo: str) -> None:
        """Remember a derivation by its path and its hash modulo in hex, as `modulo_of` gave it."""
        self._modulo[drv_path] = modulo

    def modulo_of(self, drv_path: str) -> str:
        """Return the hash modulo, in hex, of a derivation that was instantiated or added."""
        return self._modulo[drv_path]

    def _depends_on_build(self, derivation: Derivation) -> bool:
        """Tell whether the output paths are only known after a build, its own or one above."""
        return any(output.algorithm for output in derivation.outputs.values()) or any(
            self._modulo.get(path) == "" for path in derivation.input_derivations
        )

    def add(self, derivation: Derivation) -> str:
        """Remember a complete derivation, such as one that was parsed, and return its `.drv` path.

        Raises `NixFormatError` if its output paths are not those that follow from it, or if an
        input derivation was not added before.
        """
        made = self.instantiate(derivation)
        if made != derivation:
            wrong = [name for name, one in made.outputs.items() if one != derivation.outputs[name]]
            raise NixFormatError(
                f"the derivation {derivation.name} has an output path that does not follow from it "
                f"({', '.join(wrong) or 'in its environment'})",
                "it was not made by Nix, or was changed",
            )
        return made.path


def placeholder(output: str) -> str:
    """Return what `builtins.placeholder` gives: a builder finds the output's path in its place."""
    return "/" + base32.encode(sha256(f"nix-output:{output}".encode()).digest())


def _fixed_path(derivation: Derivation, output: Output) -> str:
    try:
        if not _HEX.fullmatch(output.hash):
            raise InvalidHash(f"not hex: {output.hash!r}", "in a derivation hashes are in hex")
        return output.fixed_path(derivation.name)
    except InvalidHash as error:
        raise NixFormatError(
            f"the derivation {derivation.name} has a fixed output with the hash "
            f"{output.algorithm!r}, {output.hash!r}",
            error.hint,
        ) from error


def _pair(key: str, value: str) -> str:
    return f"({quote(key)},{quote(value)})"


def _quoted(texts: Iterable[str]) -> str:
    return ",".join(map(quote, texts))


def _sorted(texts: Iterable[str]) -> list[str]:
    found = sorted(texts)
    # Code points are in the order of their UTF-8, but not the stand-ins for other bytes.
    return found if all(map(str.isascii, found)) else sorted(found, key=encode)


def _sorted_items(mapping: Mapping[str, _Value]) -> list[tuple[str, _Value]]:
    return [(key, mapping[key]) for key in _sorted(mapping)]
