"""Hashes: one value for every form in which Nix writes them.

The forms are hex, Nix's base 32, base 64, each of these after `algorithm:`, and SRI
(`algorithm-base64`, W3C "Subresource Integrity"). plxnix reads all and writes SRI.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from plxnix.errors import InvalidHash
from plxnix.nix import base32

#: The algorithms that every Nix since 2.8 knows, with the size of their digests in bytes.
ALGORITHMS: Final = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}

#: How much of a file is read at a time: 1 MiB.
_PIECE: Final = 1 << 20

_HELP: Final = (
    "write it as hex, Nix base 32, base 64, any of these after 'sha256:', or SRI ('sha256-...='); "
    f"the algorithms are {', '.join(ALGORITHMS)}"
)

_PREFIX: Final = re.compile(rf"({'|'.join(ALGORITHMS)})([:-])(.*)", re.DOTALL)
_HEX: Final = re.compile(r"[0-9a-fA-F]*")
_BASE64: Final = re.compile(r"[0-9A-Za-z+/]*={0,2}")


@dataclass(frozen=True, slots=True, order=True)
class Hash:
    """A digest and the algorithm that made it; `str()` gives the SRI form.

    `Hash.parse` is for text that may be wrong. The constructor trusts its arguments and is for code
    that has just computed the digest.
    """

    algorithm: str
    digest: bytes

    @classmethod
    def parse(cls, text: str, algorithm: str | None = None) -> Hash:
        """Read a hash in any form that Nix reads.

        The algorithm is `algorithm` or the one that `text` names; both must agree. Without either
        it follows from the length, where 32 hex digits are an md5. Raises `InvalidHash`, also for
        base 64 without padding and with bits that no encoder sets.
        """
        if algorithm is not None and algorithm not in ALGORITHMS:
            raise InvalidHash(f"not a hash algorithm: {algorithm!r}", _HELP)
        if not isinstance(text, str):
            raise InvalidHash(f"a hash is text, but this is {text!r:.100}", _HELP)
        prefix = _PREFIX.fullmatch(text)
        if prefix is None:
            candidates = list(ALGORITHMS) if algorithm is None else [algorithm]
            digits, only_base64 = text, False
        else:
            named, mark, digits = prefix.groups()
            if algorithm not in (None, named):
                raise InvalidHash(
                    f"the hash {text!r:.200} is not a {algorithm}", f"expected is a {algorithm}"
                )
            candidates, only_base64 = [named], mark == "-"
        # Hex of any algorithm goes before base 32: 32 digits are an md5 rather than a sha1.
        for decoder in (_from_base64,) if only_base64 else (_from_hex, _from_base32, _from_base64):
            for candidate in candidates:
                digest = decoder(digits, ALGORITHMS[candidate])
                if digest is not None:
                    return cls(candidate, digest)
        kind = f"a {candidates[0]} hash" if len(candidates) == 1 else "a hash"
        raise InvalidHash(f"not {kind}: {text!r:.200}", _HELP)

    @classmethod
    def of_bytes(cls, data: bytes, algorithm: str = "sha256") -> Hash:
        """Hash `data`; raise `InvalidHash` for an algorithm that Nix does not have."""
        return cls(algorithm, new(algorithm, data).digest())

    @classmethod
    def of_file(cls, path: str | os.PathLike[str], algorithm: str = "sha256") -> Hash:
        """Hash the contents of a file, whose links are followed.

        Memory: 1 MiB, whatever the size. Raises `OSError` if it cannot be read.
        """
        state = new(algorithm)
        view = memoryview(bytearray(_PIECE))
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(view):
                state.update(view[:count])
        return cls(algorithm, state.digest())

    @property
    def hex(self) -> str:
        """The digest in hex digits, lower case."""
        return self.digest.hex()

    @property
    def base32(self) -> str:
        """The digest in Nix's base 32."""
        return base32.encode(self.digest)

    @property
    def base64(self) -> str:
        """The digest in base 64, with padding."""
        return b64encode(self.digest).decode("ascii")

    @property
    def sri(self) -> str:
        """The hash as SRI, such as `sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=`."""
        return f"{self.algorithm}-{self.base64}"

    def __str__(self) -> str:
        return self.sri


def new(algorithm: str, data: bytes = b"") -> hashlib._Hash:
    """Start a hash of one of the `ALGORITHMS`; raise `InvalidHash` for any other."""
    if algorithm not in ALGORITHMS:
        raise InvalidHash(f"not a hash algorithm: {algorithm!r}", _HELP)
    # These hashes name contents; where a policy forbids md5 for security, it may still do that.
    return hashlib.new(algorithm, data, usedforsecurity=False)


def _from_hex(text: str, size: int) -> bytes | None:
    if len(text) != 2 * size or not _HEX.fullmatch(text):
        return None
    return bytes.fromhex(text)


def _from_base32(text: str, size: int) -> bytes | None:
    if len(text) != base32.encoded_length(size):
        return None
    try:
        return base32.decode(text)
    except InvalidHash:
        return None


def _from_base64(text: str, size: int) -> bytes | None:
    if len(text) != (size + 2) // 3 * 4 or not _BASE64.fullmatch(text):
        return None
    digest = b64decode(text)
    # The last digit may hold bits that stand for nothing; two texts must not be one hash.
    return digest if b64encode(digest).decode("ascii") == text else None
