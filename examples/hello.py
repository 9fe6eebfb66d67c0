"""GNU Hello, built from its sources: a toy package manager in a few stages.

Build it here, and by Nix:

    plxnix realize examples/hello.py:hello --print paths
    plxnix export examples/hello.py:hello --toolchain host -o default.nix && nix-build default.nix

Take it from elsewhere, or take another release:

    plxnix realize examples/hello.py:hello -a url=https://example.org/hello-2.10.tar.gz
    plxnix realize examples/hello.py:hello -a version=2.12.1 -a sha256=HASH

`greeting` runs what `hello` has built.
"""

from plxnix import DRef, execute, fetchurl, selfref, unpack

VERSION = "2.10"
SHA256 = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b"
URL = "mirror://gnu/hello/hello-{version}.tar.gz"


def source(url: str = URL, version: str = VERSION, sha256: str = SHA256) -> DRef:
    """The release as its authors signed it: a file known by its hash, whoever serves it."""
    return fetchurl(url=url.replace("{version}", version), sha256=sha256, mode="")


def tree(**release: str) -> DRef:
    """What is in it."""
    return unpack(source(**release), name="hello-source")


def hello(version: str = VERSION, **release: str) -> DRef:
    """The program: `$out/bin/hello`."""
    # cp keeps the times, which are all the same in a store: make would rebuild configure otherwise.
    return execute(
        name=f"hello-{version}",
        source=tree(version=version, **release) / f"hello-{version}",
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


def greeting(**release: str) -> DRef:
    """What it says, as a file: a stage that runs what another has built."""
    program = hello(**release) / "bin" / "hello"
    return execute(name="greeting", command=f'{program} > "$out"')
