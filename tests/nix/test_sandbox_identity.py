"""The native sandbox gives the bytes that `nix-build` gives in its own, of the same derivation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from plxnix import DRef, execute, fetchlocal, mkfile, mknode
from plxnix.builders.namespaces import HOST_PATHS
from plxnix.export.expression import expression
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_graph
from plxnix.model import selfref
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from tests.conftest import missing
from tests.hello_source import SHA256, hello_tarball
from tests.nix_environment import NixCommandFailed, NixEnv
from tests.stage_samples import Lab

Run = Callable[..., DRef]

#: How many graphs are built both ways.
GRAPHS = 100


def sandbox(*shown: Path) -> tuple[str, ...]:
    """Return Nix's options for a sandbox that shows what ours does, and files that are fetched."""
    paths = [*filter(os.path.exists, HOST_PATHS), *map(str, shown)]
    return (
        *("--option", "sandbox", "true"),
        *("--option", "sandbox-fallback", "false"),
        *("--option", "sandbox-paths", " ".join(paths)),
    )


@pytest.fixture(scope="module")
def sandboxed_nix(
    nix_env: NixEnv, bubblewrap: str, tmp_path_factory: pytest.TempPathFactory
) -> NixEnv:
    """Real Nix, in whose sandbox builders run here, and a bubblewrap for ours."""
    del bubblewrap
    file = tmp_path_factory.mktemp("trial") / "default.nix"
    file.write_text(
        "derivation { name = ''trial''; system = builtins.currentSystem; builder = ''/bin/sh'';"
        f" args = [ ''-c'' ''test -d /build && echo {file} > $out'' ]; }}"
    )
    try:
        nix_env.build(file, None, *sandbox())
    except NixCommandFailed as error:
        missing(f"the sandbox of Nix does not work here: {error}")
    return nix_env


def compare(nix_env: NixEnv, lab: Lab, drefs: list[DRef], folder: Path, *shown: Path) -> None:
    """Realize stages in the sandbox, build them with Nix in its own, and compare NAR hashes."""
    rrefs = [lab.realize(dref, sandbox="on") for dref in drefs]
    graph = ExportGraph(lab.closure(drefs))
    add_graph(graph)
    file = folder / "default.nix"
    file.write_text(expression(graph, "made by a test"))
    nix_env.build(file, None, *sandbox(*shown))
    different = []
    for dref, rref in zip(drefs, rrefs, strict=True):
        record = lab.store.record(rref)
        assert record.nix["sandboxed"] is True, dref
        assert record.nix["identical"] is True, dref
        native = Path(lab.store.path(rref), rref.name if record.flat else "")
        if nar_hash(native) != nar_hash(record.nix["path"]):
            different.append((dref, native, record.nix["path"]))
    assert different == []


def test_a_script(sandboxed_nix: NixEnv, lab: Lab, run: Run, tmp_path: Path) -> None:
    """What a command sees of itself and of where it is goes into the result, the same in both."""
    told = run(
        """
            mkdir -p $out/bin
            echo "#!/bin/sh" > $out/bin/me; echo "exec $out/bin/other" >> $out/bin/me
            chmod +x $out/bin/me; ln -s $out/bin/me $out/bin/link; chmod 600 $out/bin/link
            { env | sort; pwd; id; umask; hostname; echo $$; cat /etc/passwd /etc/group /etc/hosts
              stat -c '%a %u %g %n' /build /nix/store /tmp $data; ls -A /build /tmp /nix/store
              echo "$promise"; : > /dev/null; cat /dev/stdin; (exec 3<>/dev/tcp/127.0.0.1/9) 2>&1
            } > $out/told || :
        """,
        name="told",
        data=mkfile("data", str(tmp_path), registry=lab.registry),
        promise=[selfref, "told"],
    )
    above = run(
        'mkdir "$out"; cp $told/told $out; readlink $told/bin/link > "$out/x"',
        name="above",
        told=told,
    )
    # The inputs of its input are there, too, where the input holds their paths.
    far = run('ls /nix/store > "$out"; cat "$(cat $above/x)" >> "$out"', above=above)
    compare(sandboxed_nix, lab, [told, above, far], tmp_path)


def test_hello(sandboxed_nix: NixEnv, lab: Lab, run: Run, tmp_path: Path) -> None:
    """GNU Hello, configured for its own output path."""
    tarball = hello_tarball()
    source = fetchlocal(SHA256, tarball, mode="unpack,remove", registry=lab.registry)
    hello = run(
        f"""
            cp -rp {source}/hello-2.10 hello; chmod -R u+w hello; cd hello
            ./configure --prefix="$out" > /dev/null && make > /dev/null
            make install > /dev/null
        """,
        name="hello",
        bash=str(tmp_path),
    )
    compare(sandboxed_nix, lab, [hello], tmp_path, tarball)


def test_a_library(sandboxed_nix: NixEnv, lab: Lab, run: Run, tmp_path: Path) -> None:
    """A C library with headers, and a program that is linked to it where it is."""
    source = mknode(
        {"salt": str(tmp_path)},
        {
            "two.h": "int two(void);\n",
            "two.c": '#include "two.h"\nint two(void) { return 2; }\n',
            "main.c": '#include <stdio.h>\n#include <two.h>\nint main(void) { printf("%d %s\\n", '
            "two(), PREFIX); return 0; }\n",
        },
        "source",
        registry=lab.registry,
    )
    library = run(
        f"""
            mkdir -p $out/lib $out/include; cp {source}/two.h $out/include
            gcc -g -fPIC -c {source}/two.c -o two.o
            gcc -shared -Wl,-soname,libtwo.so.1 -o $out/lib/libtwo.so.1 two.o
            ln -s libtwo.so.1 $out/lib/libtwo.so; ar rcs $out/lib/libtwo.a two.o
        """,
        name="library",
    )
    program = run(
        f"""
            mkdir -p $out/bin
            gcc -g -DPREFIX="\\"$out\\"" -I{library}/include {source}/main.c -L{library}/lib \\
                -Wl,-rpath,{library}/lib -ltwo -o $out/bin/two
        """,
        name="program",
    )
    printed = run(f'{program}/bin/two > "$out"', name="printed")
    compare(sandboxed_nix, lab, [library, program, printed], tmp_path)
    (text,) = Path(lab.store.path(lab.realize(printed))).iterdir()
    assert text.read_text() == f"2 {lab.store.record(lab.realize(program)).nix['path']}\n"


def graph(random: Random, lab: Lab, folder: Path) -> list[DRef]:
    """Register a few stages that refer to those before them; return the commands among them."""
    registry, stages, commands = lab.registry, list[DRef](), list[DRef]()
    count = random.randrange(2, 7)
    for number in range(count):
        name = random.choice(("a", "b.c", "x+y", "_", "q=1", "lib", "0"))
        kind = random.choice(("file", "node", "fetch", "pin", "command", "command", "command"))
        salt = f"{random.random()} {folder}"
        if number == count - 1:
            kind = "command"
        if kind == "file":
            stages.append(mkfile(name, random.randbytes(random.randrange(50)), registry=registry))
        elif kind == "node":
            stages.append(mknode({"salt": salt}, {"a/b": salt, "é": ""}, name, registry=registry))
        elif kind == "fetch":
            file = folder / f"{random.randrange(10**12)} x"
            file.write_bytes(random.randbytes(99))
            digest = Hash.of_file(file).hex
            stages.append(fetchlocal(digest, file, mode="", registry=registry))
        elif kind == "pin":
            stages.append(lab.stage("pin", content=salt))
        else:
            below = random.sample(stages, min(len(stages), random.randrange(4)))
            pieces = [
                'echo "$out $below" > $out/paths',
                'ln -s "$out" $out/self; ln -s nowhere $out/dangling',
                "for one in $below; do ln -sfn $one $out/${one##*/}; done",
                "for one in $below; do cp -rL $one $out/copy-${one##*/} 2>/dev/null || :; done",
                "ls -lan --time-style=+%s /nix/store | tr -s ' ' | cut -d' ' -f1,6- "
                "| grep -v ' \\.' | tail -n +2 | grep -v -- ${out##*/} > $out/store || :",
                "touch -d 2001-01-01 $out/old; chmod 751 $out/old; mkdir -m 700 $out/private",
                "env | sort > $out/env; pwd > here; cp here $out",
                "for one in $below; do find $one/ -printf '%P %y %s\\n'; done | sort > $out/found",
                "tar -cf $out/all.tar --sort=name $below 2>&1 || :",
            ]
            script = "\n".join(random.sample(pieces, random.randrange(1, len(pieces))))
            commands.append(
                execute(
                    f"mkdir $out\n{script}",
                    name=name,
                    below=below,
                    salt=f"{number} {salt}",
                    registry=registry,
                )
            )
            stages.append(commands[-1])
    return commands


def test_random_graphs(sandboxed_nix: NixEnv, lab: Lab, tmp_path: Path) -> None:
    """Random graphs of every kind of stage: all of their commands have equal results."""
    random = Random(4)  # noqa: S311
    commands = [graph(random, lab, tmp_path) for _ in range(GRAPHS)]
    compare(sandboxed_nix, lab, [dref for some in commands for dref in some], tmp_path, tmp_path)
