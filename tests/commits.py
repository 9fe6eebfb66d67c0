"""A commit of git on a server of plain files on loopback, made when a test runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.http_server import Answer, Server

__all__ = ["serve_commit"]


def serve_commit(
    server: Server, folder: Path, modules: Mapping[str, tuple[str, str]] | None = None
) -> tuple[str, str]:
    """Commit all that is in a folder, which is as before; return the URL and the commit's id.

    `modules` are submodules by their path: the URL and the commit of each.
    """
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    listed, linked = [], []
    for place, (url, commit) in (modules or {}).items():
        for key, value in (("path", place), ("url", url)):
            listed.append(f"config -f .gitmodules submodule.{place}.{key} {value}")
        linked.append(f"update-index --add --cacheinfo 160000,{commit},{place}")
    before = ("init -q", *listed, "add .", *linked)
    for command in (*before, "commit -qm x", "update-server-info", "rev-parse HEAD"):
        done = subprocess.run([*git, *command.split()], check=True, capture_output=True, text=True)
    place = f"/{folder.name}.git"
    # git speaks with a server of plain files, if it asks for all that there is.
    for path in (folder / ".git").rglob("*"):
        if path.is_file():
            file = f"{place}/{path.relative_to(folder / '.git')}"
            server.answer(file, Answer(path.read_bytes()))
            server.answer(f"{file}?service=git-upload-pack", Answer(path.read_bytes()))
    shutil.rmtree(folder / ".git")
    return server.url(place), done.stdout.strip()
