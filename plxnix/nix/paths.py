"""Store paths: how Nix makes the name of a path out of what it holds.

    path = /nix/store/ + base32(fold(sha256("<kind>:sha256:<hex>:/nix/store:<name>"))) + "-" + name

Source: Nix manual, "Complete Store Path Calculation". All paths are whole, `/nix/store/...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from plxnix.errors import InvalidName, NixFormatError
from plxnix.model import NAME_RULE
from plxnix.nix import base32
from plxnix.nix.hashes import Hash

#: The folder of every store path. Other folders give other hashes, so it is not a setting.
STORE: Final = "/nix/store"

#: Bytes of the name of a derivation, and of anything else in the store.
NAME_LENGTH: Final = 207
PATH_NAME_LENGTH: Final = 211

#: What plxnix calls a derivation; what every version of Nix lets be in a store; what 2.8 does.
_NAME: Final = re.compile(NAME_RULE)
_PATH_NAME: Final = re.compile(r"(?!\.\.?(-|$))[0-9A-Za-z+._?=-]{1,211}")
_PATH: Final = re.compile(
    rf"{STORE}/([{base32.ALPHABET}]{{32}})-([0-9A-Za-z+._?=-]{{1,{PATH_NAME_LENGTH}}})"
)
_ILLEGAL: Final = re.compile(r"[^0-9A-Za-z+._?=-]")

_NAME_HELP: Final = (
    "use 1 to 207 of the letters A-Z a-z, the digits and + - . _ ? =, not starting with a dot and "
    "not ending in .drv"
)


def check_name(name: str, allow_drv: bool = False) -> str:
    """Return `name` if it may be the name of a derivation; raise `InvalidName` otherwise.

    With `allow_drv` the rule is the wider one for anything in a store, as all versions of Nix have
    it: 211 bytes, and the name may end in `.drv` and start with a dot, but not be `.` or `..` or
    start with `.-` or `..-`.
    """
    legal = isinstance(name, str) and (
        _PATH_NAME.fullmatch(name)
        if allow_drv
        else _NAME.fullmatch(name) and not name.endswith(".drv")
    )
    if not legal:
        raise InvalidName(f"not a name for a store path: {name!r:.300}", _NAME_HELP)
    return name


def sanitise_name(text: str) -> str:
    """Turn any text, such as the last part of a URL, into a legal name near to it.

    Illegal characters become `-`, leading dots go, the end is cut to 207 bytes, `.drv` at the end
    loses its dot to `-`, and what is empty is called `source`. Legal names stay as they are, so
    doing it twice changes nothing.
    """
    name = _ILLEGAL.sub("-", text).lstrip(".")[:NAME_LENGTH]
    if name.endswith(".drv"):
        name = name[:-4] + "-drv"
    return name or "source"


def store_path(kind: str, digest: bytes, name: str) -> str:
    """Return the path for a kind (`source`, `text:...`, `output:out`, ...), a sha256 and a name.

    The name is not checked here.
    """
    described = f"{kind}:sha256:{digest.hex()}:{STORE}:{name}"
    return f"{STORE}/{base32.encode(_fold(sha256(described.encode()).digest()))}-{name}"


def text_path(name: str, contents: bytes, references: Iterable[str] = ()) -> str:
    """Return the path of a text file, as `builtins.toFile` and `.drv` files get it.

    `references` are the store paths that the text refers to; they count as a set. Raises
    `InvalidName`.
    """
    kind = ":".join(["text", *sorted(set(references))])
    return store_path(kind, sha256(contents).digest(), check_name(name, allow_drv=True))


def source_path(name: str, nar_hash: Hash, references: Iterable[str] = ()) -> str:
    """Return the path of a tree with this NAR hash, as `nix-store --add` gives it.

    Raises `InvalidName`, and `NixFormatError` if the hash is no sha256.
    """
    if nar_hash.algorithm != "sha256":
        raise NixFormatError(
            f"the path of a source needs a sha256 of its NAR, but this is {nar_hash}",
            "other algorithms have a fixed_path",
        )
    kind = ":".join(["source", *sorted(set(references))])
    return store_path(kind, nar_hash.digest, check_name(name, allow_drv=True))


def fixed_path(name: str, hash: Hash, recursive: bool = False) -> str:  # noqa: A002
    """Return the path of a fixed output: `hash` is of the file, or of the NAR if `recursive`.

    It is where a fetch puts its result and where `nix-store --add-fixed` does. Raises
    `InvalidName`.
    """
    if recursive and hash.algorithm == "sha256":
        return source_path(name, hash)
    mode = "r:" if recursive else ""
    described = f"fixed:out:{mode}{hash.algorithm}:{hash.hex}:"
    digest = sha256(described.encode()).digest()
    return store_path("output:out", digest, check_name(name, allow_drv=True))


def output_path(derivation_name: str, output: str, digest: bytes) -> str:
    """Return the path of one output of a derivation with this hash modulo (32 bytes).

    The output `out` has the derivation's name, any other the name `<derivation>-<output>`. Raises
    `InvalidName` if that is too long.
    """
    name = derivation_name if output == "out" else f"{derivation_name}-{output}"
    return store_path(f"output:{output}", digest, check_name(name, allow_drv=True))


def split(path: str) -> tuple[str, str]:
    """Return the hash (32 digits) and the name of a store path; raise `NixFormatError`.

    A path below a store path is none itself.
    """
    match = _PATH.fullmatch(path) if isinstance(path, str) else None
    if match is None:
        raise NixFormatError(
            f"not a store path: {path!r:.300}", f"it looks like {STORE}/<32 digits>-<name>"
        )
    return match[1], match[2]


def _fold(digest: bytes) -> bytes:
    """Shorten 32 bytes to 20 by xor-ing what is beyond onto the beginning."""
    head = int.from_bytes(digest[:20], "big")
    tail = int.from_bytes(digest[20:], "big") << 64  # 12 bytes, set to the first 12 of 20
    return (head ^ tail).to_bytes(20, "big")
