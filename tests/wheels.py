"""Wheels, sdists and a package index on loopback, made when a test runs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

from tests.http_server import Answer, Server

__all__ = ["BACKEND", "Index", "backend_wheel", "installer_wheel", "make_sdist", "make_wheel"]

#: The name of the build backend that `make_sdist` uses: pure Python, without needs of its own.
BACKEND = "tinybackend"

_EPOCH = (1980, 1, 1, 0, 0, 0)

#: Builds a wheel of all modules beside pyproject.toml; asks for what more-requires.txt lists.
_BACKEND_SOURCE = """
import base64, hashlib, os, zipfile

def get_requires_for_build_wheel(config_settings=None):
    try:
        with open("more-requires.txt") as file:
            return file.read().split()
    except FileNotFoundError:
        return []

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with open("PKG-INFO") as file:
        metadata = file.read()
    fields = dict(line.split(": ", 1) for line in metadata.splitlines() if ": " in line)
    stem = fields["Name"].replace("-", "_") + "-" + fields["Version"]
    files = {one: open(one, "rb").read() for one in sorted(os.listdir(".")) if one.endswith(".py")}
    files[stem + ".dist-info/METADATA"] = metadata.encode()
    files[stem + ".dist-info/WHEEL"] = (
        b"Wheel-Version: 1.0\\nGenerator: tiny\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    )
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\\n"
    files[stem + ".dist-info/RECORD"] = (record + stem + ".dist-info/RECORD,,\\n").encode()
    wheel = stem + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return wheel
"""


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    extras: Mapping[str, Sequence[str]] | None = None,
    tag: str = "py3-none-any",
    files: Mapping[str, str | bytes] | None = None,
    metadata: str = "",
    record: bool = True,
    scripts: Mapping[str, str] | None = None,
) -> Path:
    """Write a wheel and return it; without `files` it has one module, whose VERSION is `version`.

    `scripts` are console scripts: name to `module:function`. `metadata` is added to METADATA. With
    `record` false RECORD is not listed right: it is empty.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    for extra, more in (extras or {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {one} ; extra == '{extra}'" for one in more]
    pure = "true" if tag.endswith("-none-any") else "false"
    content: dict[str, bytes] = {}
    given = files if files is not None else {f"{_module(name)}.py": f"VERSION = {version!r}\n"}
    for inner, data in given.items():
        content[inner] = data.encode() if isinstance(data, str) else data
    content[f"{info}/METADATA"] = ("\n".join(lines) + "\n" + metadata).encode()
    wheel = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\n"
    for python in tag.split("-")[0].split("."):
        for platform in tag.split("-")[2].split("."):
            wheel += f"Tag: {python}-{tag.split('-')[1]}-{platform}\n"
    content[f"{info}/WHEEL"] = wheel.encode()
    if scripts:
        points = "".join(f"{script} = {where}\n" for script, where in scripts.items())
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{points}".encode()
    listed = "".join(f"{one},{_digest(data)},{len(data)}\n" for one, data in content.items())
    content[f"{info}/RECORD"] = f"{listed}{info}/RECORD,,\n".encode() if record else b""
    path = folder / f"{stem}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    _zip(path, content)
    return path


def make_sdist(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    build_requires: Sequence[str] | None = (BACKEND,),
    more_requires: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write an sdist and return it; without `files` it has one module, as `make_wheel` does.

    It is built by `BACKEND`, which asks for `more_requires` besides. With `build_requires` None it
    has no pyproject.toml.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.2", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    content = dict(
        files if files is not None else {f"{_module(name)}.py": f"VERSION = {version!r}\n"}
    )
    content["PKG-INFO"] = "\n".join(lines) + "\n"
    if build_requires is not None:
        content["pyproject.toml"] = (
            f"[build-system]\nrequires = {json.dumps(list(build_requires))}\n"
            f'build-backend = "{BACKEND}"\n[project]\nname = "{name}"\nversion = "{version}"\n'
            f"dependencies = {json.dumps(list(requires))}\n"
        )
    if more_requires:
        content["more-requires.txt"] = "\n".join(more_requires)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.tar.gz"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for inner, text in sorted(content.items()):
            member = tarfile.TarInfo(f"{stem}/{inner}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return path


def backend_wheel(folder: Path) -> Path:
    """Write the wheel of `BACKEND` and return it."""
    return make_wheel(folder, BACKEND, files={f"{BACKEND}.py": _BACKEND_SOURCE})


def installer_wheel(folder: Path) -> Path:
    """Write a wheel of the PyPA's installer that is installed here and return it."""
    found = distribution("installer")
    files = {
        str(one): found.locate_file(one).read_bytes()  # type: ignore[attr-defined]
        for one in found.files or ()
        if str(one).startswith("installer/") and not str(one).endswith(".pyc")
    }
    return make_wheel(folder, "installer", found.version, files=files)


@dataclass
class Index:
    """A package index (PEP 691, or with `as_json` false PEP 503) on a server that runs already.

    `add` takes files; `url` is for UV_DEFAULT_INDEX. It has the installer and `BACKEND`.
    """

    server: Server
    folder: Path
    as_json: bool = True
    #: Files by project, with why they are yanked ("" if they are not), and when they were uploaded.
    files: dict[str, dict[str, tuple[bytes, str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Publish what every lock needs."""
        self.add(installer_wheel(self.folder), backend_wheel(self.folder))

    @property
    def url(self) -> str:
        """The URL of the index."""
        return self.server.url("/simple")

    def add(self, *files: Path, yanked: str = "", uploaded: str = "2020-01-01T00:00:00Z") -> None:
        """Publish files; their names say what they are of."""
        for path in files:
            project = path.name.split("-")[0].lower().replace("_", "-")
            held = self.files.setdefault(project, {})
            held[path.name] = (path.read_bytes(), yanked, uploaded)
            self.server.answer(f"/files/{path.name}", Answer(path.read_bytes()))
            if path.suffix == ".whl":
                self.server.answer(f"/files/{path.name}.metadata", Answer(_metadata(path)))
            body, kind = self._json(project) if self.as_json else self._html(project)
            self.server.answer(
                f"/simple/{project}/", Answer(body.encode(), headers={"Content-Type": kind})
            )

    def wheel(self, name: str, version: str = "1.0", *requires: str, tag: str = "") -> Path:
        """Make a wheel and publish it."""
        made = make_wheel(self.folder, name, version, requires=requires, tag=tag or "py3-none-any")
        self.add(made)
        return made

    def _json(self, project: str) -> tuple[str, str]:
        files = [
            {
                "filename": name,
                "url": self.server.url(f"/files/{name}"),
                "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
                "core-metadata": name.endswith(".whl"),
                "yanked": yanked or False,
                "upload-time": uploaded,
                "size": len(data),
            }
            for name, (data, yanked, uploaded) in self.files[project].items()
        ]
        page = {"meta": {"api-version": "1.1"}, "name": project, "files": files, "versions": []}
        return json.dumps(page), "application/vnd.pypi.simple.v1+json"

    def _html(self, project: str) -> tuple[str, str]:
        links = ""
        for name, (data, yanked, _) in self.files[project].items():
            why = f' data-yanked="{html.escape(yanked)}"' if yanked else ""
            why += ' data-core-metadata="true"' if name.endswith(".whl") else ""
            digest = hashlib.sha256(data).hexdigest()
            links += f'<a href="/files/{name}#sha256={digest}"{why}>{name}</a>\n'
        return f"<!DOCTYPE html><html><body>{links}</body></html>", "text/html"


def _module(name: str) -> str:
    return name.replace("-", "_")


def _metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return archive.read(name)


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _zip(path: Path, content: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
