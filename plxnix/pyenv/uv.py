"""uv, the resolver: the only module that runs it.

uv has settings of its own (`UV_*`, uv.toml, `[tool.uv]`), and they hold. Where it has no index set,
that of pip is handed to it, since uv reads none of pip's settings.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from plxnix.errors import InvalidValue, MissingExtra, ResolutionFailed, ToolFailed
from plxnix.nix import tools
from plxnix.pyenv.toml import loads

__all__ = ["clean", "compiled", "find", "printed", "run"]

#: Seconds that one call may take: sdists may have to be built for their metadata.
TIMEOUT: Final = 1800.0

#: Errors of uv that are told apart by what they say, each with what to do.
_HINTS: Final = (
    ("was not found in the package registry", "is the name right, and does your index have it?"),
    ("yanked", "ask for another version, or for this one with ==, which takes it all the same"),
    ("sending request", "is the index up? UV_DEFAULT_INDEX and PIP_INDEX_URL say which it is"),
    ("Failed to fetch", "is the index up? UV_DEFAULT_INDEX and PIP_INDEX_URL say which it is"),
    ("relative URL without a base", "is there a folder of that name, as seen from that file?"),
    ("unsatisfiable", "relax one of the requirements that it names"),
    ("Failed to build", "its sdist had to be built to know what it needs; ask for another version"),
)

#: The line of one of several wheels in a lock of uv: whether it is a file of here, name and hash.
_WHEEL: Final = re.compile(
    r'(?m)^ *\{ url = "(?:(file:)|https?:)[^"?#]*/([^"/?#]+)".*sha256 = "(\w+)".*\n'
)

#: A file of here in a lock of uv.
_FILE: Final = re.compile(r'\{ url = "file://(/[^"?#\\]+)"')


@lru_cache(maxsize=1)
def find() -> str:
    """Return the path of uv's program: that of the installed package, else the one on PATH."""
    try:
        return str(import_module("uv").find_uv_bin())
    except (ImportError, AttributeError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise MissingExtra("uv", "env")
    return found


def run(
    *arguments: str,
    folder: Path,
    text: str | None = None,
    said: Callable[[str], object] | None = None,
) -> str:
    """Run uv in `folder`, with `text` as its input, and return what it prints.

    Raises `ResolutionFailed` with all that uv says, word for word, and `MissingExtra` without uv.
    """
    environment = {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environment |= _index(folder)
    try:
        return tools.run(
            find(),
            "--directory",
            os.fspath(folder),
            *arguments,
            input=None if text is None else text.encode(),
            timeout=TIMEOUT,
            env=environment,
            said=said,
        )
    except ToolFailed as error:
        told = error.stderr.strip().removeprefix("error: ") or error.message
        hint = next((hint for words, hint in _HINTS if words in told), "")
        raise ResolutionFailed(f"uv: {_without_credentials(told)}", hint) from None


def compiled(
    folder: Path, output: Path, sources: Sequence[str], *options: str, text: str
) -> list[str]:
    """Resolve `sources` (`-` is `text`) into the lock `output`, whose versions are kept.

    Returns what uv says of versions that are yanked, which it takes if they are asked for with
    `==`, and of extras that are not there.
    """
    warnings: list[str] = []
    options = (*options, "--output-file", os.path.abspath(output))
    _compile(folder, sources, *options, text=text, said=lambda text: warnings.append(text))
    told = r"(?m)^warning: (.* (?:is yanked|does not have an extra).*)$"
    return re.findall(told, "".join(warnings))


def printed(folder: Path, sources: Sequence[str], *options: str, text: str) -> str:
    """Resolve `sources` (`-` is `text`) and return the lock."""
    return clean(_compile(folder, sources, "--quiet", *options, text=text))


def _compile(
    folder: Path,
    sources: Sequence[str],
    *options: str,
    text: str,
    said: Callable[[str], object] | None = None,
) -> str:
    command = ["pip", "compile", "--no-header", "--format", "pylock.toml"]
    # It needs some interpreter, to build sdists for their metadata.
    command += ["--python", sys.executable, *options, "--", *sources]
    return run(*command, folder=folder, text=text, said=said)


def clean(lock: str) -> str:
    """Return a lock without the credentials of indexes, in which files of folders (`--find-links`)
    have an absolute path and no URL.

    A wheel that an index has too is that of the index: of such a wheel uv locks both places.
    """
    lock = re.sub(r"(https?://)[^/\s\"@]+@", r"\1", lock)
    known = {unquote(one[2]): one[3] for one in _WHEEL.finditer(lock) if not one[1]}

    def told(found: re.Match[str]) -> str:
        name, digest = unquote(found[2]), found[3]
        return "" if found[1] and known.get(name) == digest else found[0]

    def placed(found: re.Match[str]) -> str:
        path = unquote(found[1])
        # Of one name there would be two files.
        ambiguous = os.path.basename(path) in known or not set("\"'\\\n").isdisjoint(path)
        return found[0] if ambiguous else f'{{ path = "{path}"'

    return _FILE.sub(placed, _WHEEL.sub(told, lock))


def _index(folder: Path) -> dict[str, str]:
    """Return the settings of pip, in the words of uv, if uv has none of its own."""
    from plxnix.builders.package_index import chosen_index

    own = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_CONFIG_FILE")
    if any(os.environ.get(name) for name in own):
        return {}
    if any(map(_sets_index, _settings(folder))):
        return {}
    found = {
        "UV_DEFAULT_INDEX": chosen_index(),
        "UV_INDEX": os.environ.get("PIP_EXTRA_INDEX_URL", ""),
    }
    return {name: value for name, value in found.items() if value}


def _settings(folder: Path) -> list[Path]:
    """Return where uv may find settings: the project's, the user's, the machine's."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folders = (folder, *folder.parents)
    found = [one / "uv.toml" for one in (*folders, home / "uv", Path("/etc/uv"))]
    return [*found, *(one / "pyproject.toml" for one in folders)]


def _sets_index(path: Path) -> bool:
    try:
        content = loads(path.read_text(errors="replace"), os.fspath(path))
    except (OSError, InvalidValue):
        return False
    if path.name == "pyproject.toml":
        content = _table(_table(content, "tool"), "uv")
    keys = {*content, *_table(content, "pip")}
    return not keys.isdisjoint(("index", "index-url", "extra-index-url", "no-index"))


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _without_credentials(text: str) -> str:
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1****@", text)
