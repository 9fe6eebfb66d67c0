"""`prefetch`: from a URL to a hash, with the file where builds look for it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from plxnix.builders.archive import is_archive
from plxnix.builders.download import redact
from plxnix.cli.downloads import Download
from plxnix.cli.progress import Progress
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import size_text
from plxnix.errors import ArchiveError, InvalidValue, ToolFailed
from plxnix.locking.fetching import Fetched, add_to_nix, fetch, land
from plxnix.model import RRef
from plxnix.nix import tools
from plxnix.nix.paths import check_name, fixed_path, sanitise_name
from plxnix.realize.registry import Realizer
from plxnix.recipes.fetch import Fetch, fetch_config
from plxnix.recipes.tree import NAME, Tree, tree_config
from plxnix.recipes.urls import check_url
from plxnix.store import Store, tree


@command(
    "prefetch",
    "plxnix prefetch https://example.org/data.csv",
    "plxnix prefetch https://example.org/hello-2.10.tar.gz --unpack",
    "plxnix prefetch mirror://gnu/hello/hello-2.10.tar.gz --hash-type sha512 --json",
)
@click.argument("url")
@click.option("--unpack", is_flag=True, help="Hash the tree in the archive, as fetchTarball does.")
@click.option("--name", metavar="NAME", help="Its name in the store; default: from the URL.")
@click.option(
    "--hash-type",
    "algorithm",
    type=click.Choice(["sha256", "sha512", "sha1"]),
    default="sha256",
    help="Which hash; a tree has a sha256 only.",
)
@click.option(
    "--nix/--no-nix",
    "to_nix",
    default=None,
    help="Add it to the Nix store too; default: if Nix is here.",
)
@json_option
@pass_session
def prefetch(
    session: Session,
    url: str,
    unpack: bool,
    name: str | None,
    algorithm: str,
    to_nix: bool | None,
    as_json: bool,
) -> None:
    """Download URL; print the hash of what it has, in SRI form, and its path in the Nix store.

    Each call asks the server, since nobody knows yet what it has there now; with its hash,
    `plxnix lock add NAME URL --hash HASH` and stages ask nobody for what is in a store already.

    It is then in the store of plxnix: stages that fetch this URL with this hash (with --unpack,
    fetchtree and its archive's hash; with --name, filename=NAME) have nothing to download. If Nix
    is here, it is in the Nix store too, where any fetch with this name and hash finds it.
    """
    if unpack and algorithm != "sha256":
        raise click.UsageError("the hash of a tree is a sha256")
    check_url(url)
    file_name = name or unquote(urlsplit(url).path.rpartition("/")[2])
    if file_name in ("", ".", "..") or "/" in file_name:
        raise InvalidValue(
            f"{redact(url)!r} ends without the name of a file", "give one: --name NAME"
        )
    store_name = (name or NAME) if unpack else sanitise_name(file_name)
    check_name(name or store_name)
    store = session.store(create=True)
    folder = Path(store.session().folder("prefetch"))
    try:
        with Download(session.console, file_name) as progress:
            fetched = fetch([url], folder, file_name, algorithm, unpack, progress)
        rrefs = _land(session, store, url, name, fetched)
        if to_nix or (to_nix is None and tools.available()):
            _add(session, store_name, fetched, must=bool(to_nix))
    finally:
        tree.remove(str(folder))
    path = fixed_path(store_name, fetched.hash, recursive=unpack)
    if as_json:
        session.console.json(
            {
                "url": fetched.url,
                "name": store_name,
                "hash": fetched.hash.sri,
                "archive": None if fetched.archive is None else fetched.archive.sri,
                "size": fetched.size,
                "path": path,
                "rrefs": rrefs,
            }
        )
    else:
        session.console.lines([fetched.hash.sri, path])
    session.console.say(f"fetched {size_text(fetched.size)}")
    if fetched.archive is not None:
        session.console.say(f"the archive itself: {fetched.archive}")


def _land(
    session: Session, store: Store, url: str, name: str | None, fetched: Fetched
) -> list[RRef]:
    """Realize the stages that this may be a fetch of: for a file both forms of `fetchurl`."""
    recipe: Realizer
    if fetched.tree is not None:
        configs = [tree_config([url], fetched.hash, fetched.archive, name or NAME)]
        recipe = Tree("native")
    else:
        file = fetched.file.name
        configs, recipe = [fetch_config(file, [url], fetched.hash, "")], Fetch("native")
        if is_archive(file):  # fetchurl unpacks it where nothing else is said.
            configs.append(fetch_config(file, [url], fetched.hash))
    progress = Progress(session.console)
    rrefs = []
    try:
        for config in configs:
            rrefs.append(land(store, config, recipe, fetched.file, fetched.url, progress))
    except ArchiveError as error:
        if not rrefs:
            raise
        session.console.warn(f"it is called an archive, but cannot be unpacked: {error.message}")
    finally:
        progress.close()
    return rrefs


def _add(session: Session, name: str, fetched: Fetched, must: bool) -> None:
    try:
        add_to_nix(name, fetched)
    except ToolFailed as error:
        if must:
            raise
        session.console.warn(f"it is not in the Nix store: {error.message}")
