"""GNU Hello, built from its sources: a toy package manager in a few stages.

Build it here, and by Nix:

    plxnix realize examples/hello.py:hello --print paths
    plxnix export examples/hello.py:hello --toolchain host -o default.nix && nix-build default.nix

`greeting` runs what `hello` has built.
"""

from plxnix import DRef, execute, fetchurl, selfref, unpack

VERSION = "2.10"


def source() -> DRef:
    """The release as its authors signed it: a file known by its hash, whoever serves it."""
    return fetchurl(
        url=f"mirror://gnu/hello/hello-{VERSION}.tar.gz",
        sha256="31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b",
        mode="",
    )


def tree() -> DRef:
    """What is in it."""
    return unpack(source(), name="hello-source")


def hello() -> DRef:
    """The program: `$out/bin/hello`."""
    # cp keeps the times, which are all the same in a store: make would rebuild configure otherwise.
    return execute(
        name=f"hello-{VERSION}",
        source=tree() / f"hello-{VERSION}",
        program=[selfref, "bin", "hello"],
        tools=["gcc", "gnumake", "gnused", "gnugrep", "gawk", "diffutils", "findutils"],
        command="""
            cp -pr "$source" hello
            chmod -R u+w hello
            cd hello
            ./configure --prefix="$out" --disable-dependency-tracking
            make
            make install
        """,
    )


def greeting() -> DRef:
    """What it says, as a file: a stage that runs what another has built."""
    return execute(name="greeting", command=f'{hello() / "bin" / "hello"} > "$out"')
