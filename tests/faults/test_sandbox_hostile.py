"""Builders that misbehave in the sandbox: contained, reported, and nothing of it published."""

from __future__ import annotations

import gzip
import os
import platform
import re
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix import DRef
from plxnix.errors import BuildFailed
from plxnix.nix.hashes import Hash
from plxnix.realize.run import Log, Observer
from plxnix.store.verify import verify
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("bubblewrap")

Run = Callable[..., DRef]


def text(lab: Lab, dref: DRef) -> str:
    """Realize a command that writes a file, in the sandbox, and return the text."""
    rref = lab.realize(dref, sandbox="on")
    return Path(lab.store.path(rref), rref.name).read_text()


#: Scripts that leave what is no output, and what is said of it in the sandbox and without.
REFUSED = [
    ("exit 3", "exited with 3"),
    (":", "made nothing at"),
    ("exec bash -c 'exit 0' >&- 2>&-", "made nothing at"),
    ("exec >&- 2>&-; sleep 300; echo > $out", "closed its output and ran on"),
    ("echo > ${out}x", "made nothing at"),
    ('ln -s /etc "$out"', "made a link at"),
    ('ln -s nowhere "$out"', "made a link at"),
    ('ln -s "$out" "$out"', "made a link at"),
    ('mkfifo "$out"', "neither a file nor"),
    ('mkdir "$out"; mkfifo "$out/x"', r"'\$out/x', which is neither a file nor"),
    (
        "mkdir $out; perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); chdir $ENV{out}; "
        "bind(S, sockaddr_un(q(s))) or die'",
        r"'\$out/s', which is neither",
    ),
    (
        "mkdir $out; perl -e 'sysopen(F, qq($ENV{out}/x), 0101, 04755)'",
        r"'\$out/x', a file with setuid or setgid",
    ),
    (
        "mkdir $out; cd $out; perl -e 'for (1..1200) { mkdir q(abc); chdir q(abc) }'",
        r"a path of 501 levels",
    ),
    (
        "mkdir $out; cd $out; perl -e '$n = q(a) x 255; for (1..30) { mkdir $n; chdir $n }'",
        r"levels and \d+ bytes",
    ),
    ("sh -c 'kill -9 $$'; exit 137", "exited with 137"),
    # Process 1 of the sandbox cannot be killed from inside.
    ("kill -9 $$; exit 4", "was killed by signal 9|exited with 4"),
    ("exec > /dev/null 2>&1; exit 1", "exited with 1"),
]

#: Those that only the sandbox stops on the way.
CONTAINED = [
    ('echo > "$out"; chmod u+s "$out"', "exited with 1"),
    ('mkdir "$out"; chmod g+s "$out"', "exited with 1"),
    ('mknod "$out" c 1 3', "exited with 1"),
    ('echo > "$out"; chown 0 "$out"', "exited with 1"),
    ('echo > "$out"; chgrp 0 "$out"', "exited with 1"),
    ("setpriv --reuid 0 true", "exited with"),
    ("mount -t tmpfs x /tmp", "exited with"),
    ("echo $out > /dev/tty", "exited with 1"),
    ("hostname other", "exited with"),
]


@pytest.mark.parametrize(
    ("script", "message", "sandbox"),
    [
        *((*one, "on") for one in REFUSED),
        *((*one, "off") for one in REFUSED),
        *((*one, "on") for one in CONTAINED),
    ],
)
def test_refused(lab: Lab, run: Run, script: str, message: str, sandbox: str) -> None:
    """What is no output, or one that Nix would not have, fails and leaves nothing behind."""
    dref = run(script)
    with pytest.raises(BuildFailed, match=message):
        lab.realize(dref, sandbox=sandbox)
    assert lab.store.realizations(dref) == []
    assert lab.leftovers() == []


def test_nothing_else_can_be_written(lab: Lab, run: Run, tmp_path: Path) -> None:
    """The machine is read-only, where it is there at all, and so are the inputs."""
    below = run('mkdir "$out"; echo right > "$out/x"')
    tried = (
        *("/usr/x", "/bin/x", "/etc/passwd", "/etc/alternatives/x", tmp_path / "x", Path.home()),
        *("/proc/sys/kernel/hostname", "/proc/sysrq-trigger", below / "x", below / "y", below),
    )
    script = "\n".join(f"(echo wrong >> '{path}') 2> /dev/null && echo {path}" for path in tried)
    assert text(lab, run(f'{{ {script}\n cat {below}/x; }} > "$out"')) == "right\n"


def test_a_closed_folder(lab: Lab, run: Run) -> None:
    """Folders and files that a command has closed are opened again, for their owner."""
    script = 'mkdir -p "$out/a/b"; echo 1 > "$out/a/b/c"; chmod 0 "$out/a/b/c" "$out/a/b" "$out/a"'
    rref = lab.realize(run(script), sandbox="on")
    assert Path(lab.store.path(rref), "a", "b", "c").read_text() == "1\n"
    assert lab.leftovers() == []


def test_what_is_written_beside_the_output(lab: Lab, run: Run) -> None:
    """It is left out, and somebody is told."""
    told: list[str] = []

    class Listening(Observer):
        def said(self, dref: DRef, message: str) -> None:
            told.append(f"{dref.name}: {message}")

    dref = run('echo > "$out"; echo > /nix/store/evil')
    rref = lab.realize(dref, sandbox="on", observer=Listening())
    assert os.listdir(lab.store.path(rref)) == [rref.name]
    assert [message.partition(" in ")[0] for message in told] == ["execute: 'evil'"]
    assert lab.leftovers() == []


def test_background_processes(lab: Lab, run: Run) -> None:
    """They end with the builder, also those of a session of their own that hold its output."""
    begun = time.monotonic()
    script = (
        'setsid sh -c \'sleep 300; echo late > "$out"\' & setsid yes > /dev/null & echo > "$out"'
    )
    assert text(lab, run(script)) == "\n"
    assert time.monotonic() - begun < 60


def test_a_long_log(lab: Lab, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a log without end the head and the tail are kept, and memory does not grow with it."""
    monkeypatch.setattr(sys.modules[Log.__module__], "LOG_LIMIT", 1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dref = run(f'echo begin; head -c {200 << 20} /dev/zero; echo the end; echo > "$out"')
    rref = lab.realize(dref, sandbox="on")
    log = gzip.decompress(Path(lab.store.layout.log(rref)).read_bytes())
    assert log.startswith(b"begin\n")
    assert log.endswith(b"the end\n")
    assert re.search(rb"\[\.\.\. \d{9} bytes left out \.\.\.\]", log)
    assert len(log) < 2 << 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50 << 10, f"{grown} KiB"
    assert lab.leftovers() == []


def test_no_network(lab: Lab, run: Run) -> None:
    """There is the loopback, of its own, and nothing else: no server here hears of it."""
    assert text(lab, run("grep -c : /proc/net/dev > $out")) == "1\n"
    name = f"\0plxnix-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(name)
        local.listen()
        script = (
            f"(: < /dev/tcp/127.0.0.1/{server.getsockname()[1]}) || echo no > $out; "
            "perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); "
            f"exit !connect(S, pack_sockaddr_un(qq(\\0{name[1:]})))' || echo no >> $out"
        )
        assert text(lab, run(script)) == "no\nno\n"
        for one in (server, local):
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.accept()


def test_what_others_have_in_memory(
    lab: Lab, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No process, variable or file of the machine is seen."""
    monkeypatch.setenv("SECRET", "a-secret-word")
    secret = tmp_path / "secret"
    secret.write_text("a-secret-word")
    script = (
        f"{{ cat /proc/*/environ /proc/1/cmdline {secret} /proc/1/root{secret} /etc/shadow || :; "
        "ls -d /proc/[0-9]* /root /home || :; } > $out 2>&1"
    )
    said = text(lab, run(script))
    assert "a-secret-word" not in said.replace(str(secret), "")
    assert set(re.findall(r"/proc/(\d+)", said)) <= {str(number) for number in range(1, 9)}


def test_inputs_stay_as_they_are(lab: Lab, run: Run) -> None:
    """They can be neither changed nor linked to; without the sandbox a link becomes a copy."""
    below = run('mkdir "$out"; echo right > "$out/x"', name="below")
    script = (
        "if chmod -R u+w $below; then exit 7; fi; if ln $below/x $out; then exit 8; fi; "
        "if mv $below ${below}x; then exit 9; fi; if rm -r $below; then exit 10; fi; echo > $out"
    )
    assert text(lab, run(script, below=below)) == "\n"
    linked = lab.realize(run("ln $below/x $out", below=below), sandbox="off")
    place = Path(lab.store.path(linked), linked.name)
    (original,) = lab.store.realizations(below)
    assert place.read_text() == "right\n"
    assert place.stat().st_nlink == Path(lab.store.path(original), "x").stat().st_nlink == 1


def test_names_of_every_byte(lab: Lab, run: Run) -> None:
    """Names are bytes: all that Linux takes are kept."""
    script = (
        "mkdir $out; cd $out; "
        "perl -e 'for (1..255) { next if $_ == 46 || $_ == 47; open F, q(>), chr $_ }'"
    )
    rref = lab.realize(run(script), sandbox="on")
    names = {bytes([number]) for number in range(1, 256)} - {b".", b"/"}
    assert set(os.listdir(os.fsencode(lab.store.path(rref)))) == names
    assert lab.leftovers() == []


def test_the_last_that_was_written(lab: Lab, run: Run) -> None:
    """Who keeps a file open is dead before it is hashed (CVE-2024-27297)."""
    script = (
        "echo right > $out; exec 5>> $out\n"
        "setsid bash -c 'while :; do echo wrong >&5; sleep 0.01; done' > /dev/null 2>&1 &\n"
        "sleep 0.1"
    )
    rref = lab.realize(run(script), sandbox="on")
    place = Path(lab.store.path(rref), rref.name)
    before = place.read_bytes()
    time.sleep(0.1)
    assert place.read_bytes() == before
    assert not [one for one in verify(lab.store) if not one.harmless]


def test_a_file_handed_to_somebody_else(lab: Lab, run: Run, tmp_path: Path) -> None:
    """With the network a descriptor can leave the sandbox; what is published is a copy."""
    name = f"\0plxnix-hand-{os.getpid()}"
    got: list[int] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()

        def take() -> None:
            connection = server.accept()[0]
            with connection:
                got.extend(socket.recv_fds(connection, 10, 1)[1])

        thread = threading.Thread(target=take)
        thread.start()
        code = (
            "import os, socket; s = socket.socket(socket.AF_UNIX); "
            f's.connect("\\0{name[1:]}"); f = os.open(os.environ["out"], os.O_RDWR); '
            'socket.send_fds(s, [b"x"], [f])'
        )
        dref = run(
            f"echo right > $out; python3 -c '{code}'",
            salt=str(tmp_path),
            hash=Hash.of_bytes(b"right\n").sri,
            hash_mode="flat",
        )
        rref = lab.realize(dref, sandbox="on")
        thread.join()
    os.write(got[0], b"wrong")
    os.close(got[0])
    assert Path(lab.store.path(rref), rref.name).read_text() == "right\n"


def test_it_dies_with_its_parent(lab: Lab, run: Run) -> None:
    """The signal that ends a builder with its parent cannot be taken back (prctl(2))."""
    numbers = {"x86_64": 157, "aarch64": 167}
    number = numbers.get(platform.machine())
    if number is None:
        pytest.skip("the number of prctl is not known here")
    script = f"perl -e 'print syscall({number}, 1, 0, 0, 0, 0) == -1 ? $! : 0' > $out"
    assert text(lab, run(script)) == "Operation not permitted"
