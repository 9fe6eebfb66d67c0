"""From inputs to a lock: uv resolves, and what it says is completed with what uv does not lock."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from plxnix.errors import HashMismatch, InvalidLock, InvalidValue, NoDistribution
from plxnix.nix.hashes import Hash
from plxnix.pyenv import uv
from plxnix.pyenv.building import build_tables, package_tables
from plxnix.pyenv.distribution import Distribution
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.providers import provider_orders
from plxnix.pyenv.snapshot import sources_hash
from plxnix.pyenv.table import VERSION
from plxnix.pyenv.toml import rows, table
from plxnix.pyenv.wheel_tags import released_wheels, told_wheels

__all__ = ["resolve"]

#: Where a package of a lock is, if that is here.
_PATH: Final = re.compile(r"""(?<![\w-])(path\s*=\s*)["']([^"'\\\n]*)["']""")

_OURS: Final = re.compile(r"(?ms)^\s*\[\[?tool\.plxnix\b.*")


def resolve(
    inputs: Inputs,
    folder: Path,
    old: EnvironmentLock | None = None,
    upgrade: Sequence[str] | None = (),
    warn: Callable[[str], object] | None = None,
) -> EnvironmentLock:
    """Make a lock for `folder`, and write nothing there; the same resolution has the same bytes.

    Of `old` all versions are kept that still fit, but for those of the packages in `upgrade`, or,
    if that is None, of all. `warn` is told of versions that are yanked, and of sdists that are
    taken as no wheel of the release fits. Raises `ResolutionFailed` with the words of uv,
    `NoDistribution` if a target has no wheel of a package, `HashMismatch` for a hash that a
    requirements file does not allow, `InvalidValue`, `FetchError`, `MissingExtra`.
    """
    known = old if old is not None and upgrade is not None else None
    kept = {} if known is None else known.plxnix
    fresh = set(upgrade or ())
    folder = folder.resolve()  # uv writes paths as seen from it, and knows nothing of links
    uv.find()  # before there are threads: sysconfig, which it asks, is not made for them
    with ThreadPoolExecutor(1) as pool:
        installer = None
        if "installer" not in kept or "installer" in fresh:
            installer = pool.submit(_installer, inputs, folder)
        packages = _packages(inputs, folder, "" if known is None else known.text, upgrade, warn)
        found = kept["installer"] if installer is None else installer.result()
    ours: dict[str, Any] = {
        "version": VERSION,
        "python": inputs.python,
        "platforms": list(inputs.platforms),
        "requested": [],
        "inputs": inputs.table(),
        "installer": found,
    }
    lock = EnvironmentLock.parse(_written(packages, ours), folder)
    ours["requested"] = _requested(lock, inputs, folder)
    ours.update(_sources(lock, folder, None if fresh else known))
    lock = EnvironmentLock.parse(_written(packages, ours), folder)
    try:
        chosen = {one.name: one for target in inputs.targets for one in lock.choose(target)}
    except NoDistribution as error:
        raise _with_wheels(error, lock, inputs) from None
    if warn is not None:
        _warn_of_sdists(lock, inputs, warn)
    _check_hashes(inputs.hashes(folder), lock, inputs)
    built = [one for _, one in sorted(chosen.items()) if one.kind != "wheel"]
    if built:
        ours["build"] = _builds(built, folder, inputs, known, fresh)
        lock = EnvironmentLock.parse(_written(packages, ours), folder)
    for target in inputs.targets:
        lock.select(target)
    return lock


def _packages(
    inputs: Inputs,
    folder: Path,
    old: str,
    upgrade: Sequence[str] | None,
    warn: Callable[[str], object] | None,
) -> str:
    """Return the part of the lock that is uv's."""
    options = inputs.options(folder)
    if inputs.ready:
        return _taken(inputs, folder)
    if upgrade is None:
        options.append("--upgrade")
    for name in upgrade or ():
        options += ["--upgrade-package", name]
    with tempfile.TemporaryDirectory(prefix="plxnix-") as top:
        # uv writes paths relative to the lock, and reads from there what it may keep.
        place = Path(top).resolve() / "pylock.toml"
        if old:
            place.write_text(_OURS.sub("", old))
        sources, text = inputs.sources(folder)
        for one in uv.compiled(inputs.base(folder), place, sources, *options, text=text):
            if warn is not None:
                warn(one)
        return _seen_from(folder, uv.clean(place.read_text()), place.parent)


def _taken(inputs: Inputs, folder: Path) -> str:
    """Return the packages of a lock that is there already, with paths as seen from `folder`."""
    path = folder / inputs.files[0]
    there = Path(os.path.realpath(path.parent))
    text = _exported(path, inputs) if path.name == "uv.lock" else path.read_text(errors="replace")
    text = uv.clean(_OURS.sub("", text))
    return _seen_from(folder, text, there)


def _seen_from(folder: Path, text: str, there: Path) -> str:
    """Return a lock with paths as seen from `folder`: what is not absolute was so from `there`."""

    def seen(found: re.Match[str]) -> str:
        if there == folder and not os.path.isabs(found[2]):
            return found[0]
        return f'{found[1]}"{os.path.relpath(there / found[2], folder)}"'

    return _PATH.sub(seen, text)


def _exported(path: Path, inputs: Inputs) -> str:
    """Return a uv.lock as a pylock.toml."""
    options = [word for one in inputs.extras for word in ("--extra", one)]
    options += [word for one in inputs.groups for word in ("--group", one)]
    return uv.run(
        *("export", "--quiet", "--frozen", "--no-header", "--format", "pylock.toml"),
        *("--no-emit-project", "--no-default-groups"),
        *options,
        folder=path.parent,
    )


def _installer(inputs: Inputs, folder: Path) -> dict[str, str]:
    """Return the wheel that environments are built with."""
    # It makes environments, and is in none: a limit of time, uv's own too, is not meant for it.
    options = ("--exclude-newer-package", "installer=2999-12-31", "--only-binary", "installer")
    text = f"{inputs.indexes(folder)}installer\n"
    base = inputs.base(folder)
    printed = uv.printed(base, ["-"], *inputs.surroundings(), *options, text=text)
    (package,) = package_tables(printed, "installer", folder)
    wheel = package["wheels"][0]
    place = {key: wheel[key] for key in ("url", "path") if key in wheel}
    known = {"name": package["name"], "version": package["version"], **place}
    return {**known, "sha256": wheel["hashes"]["sha256"]}


def _requested(lock: EnvironmentLock, inputs: Inputs, folder: Path) -> list[str]:
    names = inputs.requested(folder)
    return sorted(
        str(one.name) for one in lock.pylock.packages if one.name in names or one.is_direct
    )


def _sources(lock: EnvironmentLock, folder: Path, known: EnvironmentLock | None) -> dict[str, Any]:
    """Return the hashes of what has none in the standard: folders and commits; and which of these
    have submodules.
    """
    before = {} if known is None else {one.name: one.vcs for one in known.pylock.packages}
    ours: Mapping[str, Any] = {} if known is None else known.plxnix
    found, submodules = {}, []
    for package in lock.pylock.packages:
        name = str(package.name)
        if package.directory is not None:
            found[name] = sources_hash(folder / package.directory.path).sri
        elif package.vcs is not None:
            if name in ours.get("sources", {}) and before.get(package.name) == package.vcs:
                found[name] = ours["sources"][name]
                has = name in ours.get("submodules", ())
            else:
                digest, has = _commit_hash(name, package.vcs)
                found[name] = digest.sri
            submodules += [name] * has
    both = {"submodules": sorted(submodules), "sources": dict(sorted(found.items()))}
    return {key: value for key, value in both.items() if value}


def _commit_hash(name: str, source: Any) -> tuple[Hash, bool]:
    """Return what `tree_hash` does of a commit."""
    from plxnix.pyenv.commits import tree_hash

    if source.type != "git" or not source.url:
        raise InvalidValue(
            f"{name} comes from {source.type} {source.url or source.path!r}",
            "only git at a URL can be pinned: ask for an archive of it, NAME @ https://...",
        )
    return tree_hash(source.url, source.commit_id)


def _builds(
    built: Sequence[Distribution],
    folder: Path,
    inputs: Inputs,
    known: EnvironmentLock | None,
    fresh: set[str],
) -> dict[str, Any]:
    """Lock what builds the distributions, and what builds that, and so on."""
    found: dict[str, Any] = {}
    waiting = list(built)
    before = _built_before(known, inputs)
    while waiting:
        one = waiting.pop()
        if one.name in found:
            continue
        same = before.get(one.name) == (one.version, one.sha256) and one.name not in fresh
        if same and known is not None:
            tables = known.plxnix["build"][one.name]
        else:
            tables = build_tables(one, folder, inputs)
        found[one.name] = rows(tables)
        probe = EnvironmentLock.of_tables(tables, f"build of {one.name}")
        for target in inputs.targets:
            waiting += [more for more in probe.choose(target) if more.kind != "wheel"]
    return dict(sorted(found.items()))


def _built_before(known: EnvironmentLock | None, inputs: Inputs) -> Mapping[str, tuple[str, Hash]]:
    """Return what the old lock knows how to build for the same targets."""
    if known is None or "build" not in known.plxnix:
        return {}
    try:
        if known.inputs.targets != inputs.targets:
            return {}
        return {
            one.name: (one.version, one.sha256)
            for target in inputs.targets
            for one in known.select(target)
            if one.kind != "wheel"
        }
    except (InvalidLock, InvalidValue):
        return {}


def _check_hashes(allowed: Mapping[str, set[str]], lock: EnvironmentLock, inputs: Inputs) -> None:
    """Raise `HashMismatch` for a file that is taken against the hashes of the requirements."""
    for target in inputs.targets:
        for one in lock.choose(target):
            hashes = allowed.get(one.name)
            if hashes and one.sha256.hex not in hashes:
                raise HashMismatch(
                    f"{one.name}: {one.filename} has the sha256 {one.sha256.hex}, which its "
                    f"requirement does not allow: {', '.join(sorted(hashes))}",
                    "correct --hash= in the requirements; the hash of every file may be listed",
                    expected=" ".join(sorted(hashes)),
                    found=one.sha256.hex,
                )


def _warn_of_sdists(lock: EnvironmentLock, inputs: Inputs, warn: Callable[[str], object]) -> None:
    """Tell of sdists that nobody asked for, where the release has wheels for other targets."""
    orders = provider_orders(inputs.providers, {str(one.name) for one in lock.pylock.packages})
    if "_default" in orders:
        return
    for target in inputs.targets:
        for one in lock.choose(target):
            if one.kind != "sdist" or one.direct or one.name in orders:
                continue
            if wheels := released_wheels(lock.pylock.packages, one.name, target):
                warn(
                    f"{one.name} {one.version} has no wheel for {target}, so its sdist is built"
                    f"{told_wheels(wheels, target)}; --provider {one.name}=sdist takes it without "
                    f"this warning, --provider {one.name}=wheel refuses it"
                )


def _with_wheels(error: NoDistribution, lock: EnvironmentLock, inputs: Inputs) -> NoDistribution:
    """Return the error with the wheels that uv leaves out of a lock for one platform."""
    named = {str(one.name): one for one in lock.pylock.packages}
    target = inputs.targets[0]
    if len(inputs.targets) > 1 or error.package not in named or named[error.package].wheels:
        return error
    told = told_wheels(released_wheels(lock.pylock.packages, error.package, target), target)
    return NoDistribution(f"{error.message}{told}", error.hint, error.package)


def _written(packages: str, ours: Mapping[str, Any]) -> str:
    return f"{packages.rstrip()}\n\n{table('tool.plxnix', ours)}"
