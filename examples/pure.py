"""Words of a text, counted by pure stages: functions that leave as derivations of Nix.

Each is run by a Python of its own, with nothing but its source, its parameters and its inputs. So
the same file comes out here and there:

    plxnix realize examples/pure.py:report --print paths
    plxnix export examples/pure.py:report --toolchain host -o default.nix && nix-build default.nix
"""

import json
import re
from collections import Counter

from plxnix import DRef, autostage, mkfile, selfref

RHYME = """\
One for sorrow, two for joy,
three for a girl, four for a boy,
five for silver, six for gold,
seven for a secret never to be told.
"""

WORD = re.compile(r"[a-z]+")


def rhyme() -> DRef:
    """The text."""
    return mkfile("rhyme", RHYME, "rhyme.txt")


def words(text):
    """Split a text into words. This goes along with the stages that use it."""
    return WORD.findall(text.lower())


@autostage(pure=True, text=rhyme, out=[selfref, "counts.json"])
def counts(text, out, shortest=2):
    """How often each word occurs, of those that are long enough."""
    found = Counter(word for word in words(text.out.read_text()) if len(word) >= shortest)
    out.write_text(json.dumps(found, indent=1, sort_keys=True))


@autostage(pure=True, counts=counts, out=[selfref, "report.txt"])
def report(counts, out, top=3):
    """The most frequent words, and what they were counted in."""
    found = json.loads(counts.out.read_text())
    ranked = sorted(found, key=lambda word: (-found[word], word))
    with out.open("w") as file:
        print(f"of words with at least {counts.shortest} letters", file=file)
        for word in ranked[:top]:
            print(f"{word:>8} {'*' * found[word]}", file=file)
        print(f"in {len(words(counts.text.out.read_text()))} words", file=file)
