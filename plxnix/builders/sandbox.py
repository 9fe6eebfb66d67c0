"""A builder's program, run in a sandbox like that of Nix, without Nix.

Bubblewrap gives it namespaces of its own, in which `/nix/store` holds the inputs at the paths that
Nix would give them, and room for the output at its own. So a builder that writes its output's path
into its result gives the bytes that `nix-build` gives (Nix manual, "sandbox"; bwrap(1)).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path

from plxnix.builders.callfilter import call_filter
from plxnix.builders.namespaces import FOLDER, HOST_PATHS, SEALED, apart, machine
from plxnix.builders.outputs import check_output
from plxnix.builders.process import builder_environment, run_process
from plxnix.errors import BuildFailed
from plxnix.nix import base32
from plxnix.nix.derivation import Derivation, placeholder
from plxnix.nix.paths import STORE
from plxnix.nix.quoting import encode

#: Starts a program under another name than its path; bubblewrap can do so since 0.9.
_PERL = (
    "/usr/bin/perl",
    "-e",
    'my $p = shift; exec {$p} @ARGV; die "cannot start $p: $!\\n"',
    "--",
)


def available() -> str | None:
    """Return the path of a bubblewrap that works here, or None; `why_not` says why.

    It is tried once a process and PATH; that costs some 10 ms.
    """
    return _probe(os.environ.get("PATH", os.defpath))[0]


def why_not() -> str:
    """Say why there is no sandbox; empty if there is."""
    return _probe(os.environ.get("PATH", os.defpath))[1]


@cache
def _probe(path: str) -> tuple[str | None, str]:
    import shutil
    import subprocess

    program = shutil.which("bwrap", path=path)
    if program is None:
        return None, "bubblewrap (bwrap) is not installed"
    command = [program, *apart(), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    try:
        trial = subprocess.run(
            [*command, "--", "/bin/sh", "-c", ":"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{program} cannot be run: {error}"
    if trial.returncode != 0:
        said = trial.stderr.decode(errors="replace").strip()
        return None, f"{program} cannot make its namespaces: {said or trial.returncode}"
    return program, ""


def run_sandboxed(
    stage: str,
    bubblewrap: str,
    derivation: Derivation,
    inputs: Mapping[str, str],
    work: Path,
    write_log: Callable[[bytes], object],
    shown: Mapping[str, str] | None = None,
) -> tuple[dict[str, Path], list[str]]:
    """Run a derivation's builder; return where its outputs are, and names of what is too much.

    `inputs` maps store paths to files or folders of this machine, and `shown` other paths that are
    to be seen (see `shown_paths`). `work` is an empty folder, in which everything is made that the
    builder may write to; the outputs are left in it, as the builder made them. What else was
    written to the store folder is named, and not to be used. Output goes to `write_log`. The
    builder of a fixed output has the network. Raises `BuildFailed` if the builder cannot be started
    or does not exit with 0, or if an output is missing, or one that Nix would refuse (see
    `check_output`).
    """
    shown = shown or {}
    _check_runnable(stage, derivation, {**shown, **inputs})
    fixed = derivation.fixed is not None
    store = work / "store"
    store.mkdir()
    store.chmod(0o1775)
    options = [*apart(network=fixed), *machine(work, fixed, shown), "--bind", str(store), STORE]
    variables = builder_environment(derivation.env, FOLDER, fixed=fixed)
    # As Nix does: in variables and arguments, not in the builder.
    own = {placeholder(name): one.path for name, one in derivation.outputs.items()}
    variables = {name: _rewritten(value, own) for name, value in variables.items()}
    _pass_as_files(variables, work / "build")
    for path, place in inputs.items():
        options += ["--ro-bind", place, path]
    options += SEALED
    for name, value in variables.items():
        options += ["--setenv", name, value]
    options += ["--chdir", FOLDER]
    with ExitStack() as opened:
        calls = call_filter()
        if calls:
            options += ["--seccomp", str(opened.enter_context(_handed_over(calls)))]
        packed = b"".join(encode(option) + b"\0" for option in options)
        arguments = opened.enter_context(_handed_over(packed))
        # Only options can be handed over in a file, and the variables must not reach bwrap itself.
        command = ["--args", str(arguments), *_program(bubblewrap, derivation)]
        command += [_rewritten(argument, own) for argument in derivation.args]
        encoded = [os.fsdecode(encode(word)) for word in command]
        descriptors = [int(options[-1]), arguments] if calls else [arguments]
        build = str(work / "build")
        run_process(stage, bubblewrap, encoded, {}, build, write_log, descriptors, keeper=True)
    outputs = {name: store / os.path.basename(one.path) for name, one in derivation.outputs.items()}
    known = {*(output.name for output in outputs.values()), *map(os.path.basename, inputs)}
    strays = sorted(name for name in os.listdir(store) if name not in known)
    for name, output in outputs.items():
        check_output(stage, output, name)
    return outputs, strays


@contextmanager
def _handed_over(data: bytes) -> Iterator[int]:
    """Put data into a file without a name, and yield its descriptor, for a child to read."""
    descriptor = os.memfd_create("bwrap")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def is_exact(bubblewrap: str, derivation: Derivation) -> bool:
    """Tell whether the builder is called by its bare name, as Nix does; old bubblewraps cannot.

    Perl stands in for those where it is there, and where no variable has a meaning for it.
    """
    return len(_program(bubblewrap, derivation)) > 2


def _program(bubblewrap: str, derivation: Derivation) -> list[str]:
    """Return the words that start the builder, without its arguments."""
    builder = derivation.builder
    name = os.path.basename(builder)
    if _names_programs(bubblewrap):
        return ["--argv0", name, "--", builder]
    if os.access(_PERL[0], os.X_OK) and not any(key.startswith("PERL") for key in derivation.env):
        return ["--", *_PERL, builder, name]
    return ["--", builder]


@cache
def _names_programs(bubblewrap: str) -> bool:
    import subprocess

    shown = subprocess.run(
        [bubblewrap, "--help"], check=False, capture_output=True, stdin=subprocess.DEVNULL
    )
    return b"--argv0" in shown.stdout


def _rewritten(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text


def _check_runnable(stage: str, derivation: Derivation, inputs: Mapping[str, str]) -> None:
    if "__structuredAttrs" in derivation.env or "__json" in derivation.env:
        raise BuildFailed(
            f"{stage} has structured attributes, which are not supported outside of Nix",
            "leave __structuredAttrs out",
            stage,
        )
    builder = derivation.builder
    for path, place in [*((path, path) for path in HOST_PATHS), *inputs.items()]:
        if builder == path or builder.startswith(path + "/"):
            if os.access(place + builder[len(path) :], os.X_OK):
                return
            raise BuildFailed(
                f"cannot start {builder!r}, the builder of {stage}",
                "is it an executable file?",
                stage,
            )
    raise BuildFailed(
        f"cannot start {builder!r}, the builder of {stage}: it is not in the sandbox",
        f"there are {', '.join(HOST_PATHS[:3])} and what the stage refers to; "
        "--sandbox off or PLXNIX_SANDBOX=off shows the whole machine",
        stage,
    )


def _pass_as_files(variables: dict[str, str], folder: Path) -> None:
    """Put variables named by `passAsFile` into files, as Nix does, with variables for the paths."""
    for name in variables.get("passAsFile", "").split():
        if name in variables:
            file = f".attr-{base32.encode(sha256(encode(name)).digest())}"
            (folder / file).write_bytes(encode(variables.pop(name)))
            variables[f"{name}Path"] = f"{FOLDER}/{file}"
