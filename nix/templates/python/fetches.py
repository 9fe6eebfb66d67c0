"""A Python program that needs a file, by its hash: what Nix has fetched is not fetched again.

python fetches.py
"""

from plxnix import DRef, fetchurl, instantiate, realize, rref2path


def licence() -> DRef:
    """The text of the GPL, whoever serves it."""
    return fetchurl(
        url="https://www.gnu.org/licenses/gpl-3.0.txt",
        sha256="3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986",
    )


if __name__ == "__main__":
    path = rref2path(realize(instantiate(licence))) / "gpl-3.0.txt"
    print(path.read_text().splitlines()[0].strip())
