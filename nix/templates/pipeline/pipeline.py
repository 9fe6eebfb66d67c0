"""A pipeline of three stages: a text, its words counted, and the most frequent ones.

    plxnix realize pipeline.py                              # build here
    plxnix export pipeline.py --format lock -o plxnix.lock.json
    nix build                                               # build the same with Nix

Replace `text` by `fetchurl(url=..., sha256=...)` for a file from the net.
"""

from plxnix import DRef, execute, mkfile


def text() -> DRef:
    """A few lines to count the words of."""
    return mkfile("text.txt", "the cat saw the dog\nthe dog saw the bird\n")


def counts() -> DRef:
    """Each word with how often it occurs, the most frequent first."""
    return execute(
        name="counts",
        text=text() / "text.txt",
        tools=["coreutils"],
        command="""
            mkdir "$out"
            tr -cs '[:alpha:]' '\\n' < "$text" | sort | uniq -c > counted
            sort -rnk1,1 -k2 counted > "$out/counts.txt"
        """,
    )


def main() -> DRef:
    """The three most frequent words."""
    return execute(
        name="frequent",
        counts=counts() / "counts.txt",
        tools=["coreutils"],
        command='head -n 3 "$counts" > "$out"',
    )
