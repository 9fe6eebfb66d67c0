"""A commit of git on a server of plain files on loopback, made when a test runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.http_server import Answer, Server

__all__ = ["serve_commit"]


def serve_commit(server: Server, folder: Path) -> tuple[str, str]:
    """Commit all that is in a folder, which is as before; return the URL and the commit's id."""
    place = f"/{folder.name}.git"
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in ("init -q", "add .", "commit -qm x", "update-server-info", "rev-parse HEAD"):
        done = subprocess.run([*git, *command.split()], check=True, capture_output=True, text=True)
    # git speaks with a server of plain files, if it asks for all that there is.
    for path in (folder / ".git").rglob("*"):
        if path.is_file():
            file = f"{place}/{path.relative_to(folder / '.git')}"
            server.answer(file, Answer(path.read_bytes()))
            server.answer(f"{file}?service=git-upload-pack", Answer(path.read_bytes()))
    shutil.rmtree(folder / ".git")
    return server.url(place), done.stdout.strip()
