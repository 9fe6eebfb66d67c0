"""Download a file by its hash: mirrors, retries, resume; nothing wrong is left in its place."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from plxnix.builders.download_settings import DownloadSettings
from plxnix.builders.sources import hashed_mirrors_from, redact, sources
from plxnix.errors import DownloadFailed, HashMismatch, InvalidValue

if TYPE_CHECKING:
    from plxnix.builders.partial import Partial, Validator
    from plxnix.builders.replies import Reply
    from plxnix.builders.transfer import Transport
    from plxnix.nix.hashes import Hash

__all__ = ["DownloadResult", "DownloadSettings", "Progress", "download", "redact"]


class Progress(Protocol):
    """Somebody who is told how a download goes."""

    def start(self, label: str, total: int | None) -> None:
        """A transfer begins, or begins anew; `total` in bytes, if the server tells."""

    def advance(self, bytes: int) -> None:  # noqa: A002 (what it counts)
        """So many more bytes are there, those of a resumed file included."""

    def finish(self) -> None:
        """It is over, with or without success; called once if `start` was."""


@dataclass(frozen=True)
class DownloadResult:
    """What was fetched: its place, size in bytes, hash, and the (redacted) URL that had it.

    `attempts` holds a line for each try that failed before; `resumed` says that a part of the file
    was there already.
    """

    path: Path
    size: int
    hash: Hash
    url: str
    attempts: tuple[str, ...] = ()
    resumed: bool = False


def download(
    urls: Sequence[str],
    destination: Path,
    hash: Hash | None,  # noqa: A002 (the word that recipes use)
    *,
    name: str = "",
    partial: Path | None = None,
    hashed_mirrors: Sequence[str] | None = None,
    mirrors: Mapping[str, Sequence[str]] | None = None,
    progress: Progress | None = None,
    settings: DownloadSettings | None = None,
) -> DownloadResult:
    """Fetch a file from the first of its sources that has it, to `destination`.

    Sources are the `hashed_mirrors` (default: those of the environment, see
    `sources.hashed_mirrors_from`) and then `urls`: http, https, file, and mirror (a name of
    `sources.MIRRORS` or of `mirrors`). `hash` is that of the file's bytes; with None anything is
    taken, and the result tells its sha256. `name` is for messages.

    The file grows at `partial` (default: beside `destination`; the same filesystem) and is moved in
    one step, with mode 0644, when its hash is right. Nothing is decoded: a compressed file stays
    so. If the transfer breaks or is interrupted, the part stays and a later call resumes it, where
    the server can; a file that changed there starts over, and of one that is whole nothing is
    asked. Nothing is flushed to disk. Takes
    constant memory.

    Raises `HashMismatch` if a source had other contents and none had the right ones,
    `DownloadFailed` with a line for each try if none had any, `InvalidValue` or `InvalidSetting`
    for what can never work. Credentials come from the URL or `.netrc` and are in no message.
    """
    from plxnix.builders.partial import Partial
    from plxnix.builders.transfer import Transport

    if hashed_mirrors is None:
        hashed_mirrors = hashed_mirrors_from()
    candidates = sources(urls, hash, hashed_mirrors=hashed_mirrors, mirrors=mirrors)
    if not candidates:
        raise InvalidValue("there is no URL to download from", "give at least one")
    if partial is None:
        partial = destination.with_name(f".{destination.name}.partial")
    settings = settings or DownloadSettings.from_environment()
    transport = Transport(settings)
    growing = Partial(partial, hash.algorithm if hash is not None else "sha256")
    job = _Job(name or destination.name, hash, settings, progress, transport, growing)
    try:
        validator = growing.validator
        if hash is not None and validator is not None and growing.hash() == hash:
            result = validator.url  # All of it is there: nobody has to be asked.
        else:
            result = job.run(candidates)
        growing.publish(destination)
    finally:
        growing.close()
        transport.close()
        if progress is not None and job.started:
            progress.finish()
    return DownloadResult(
        path=destination,
        size=growing.size,
        hash=job.found(),
        url=redact(result),
        attempts=tuple(job.attempts),
        resumed=growing.resumed,
    )


class _Job:
    """One download: goes through its sources, and counts."""

    def __init__(
        self,
        name: str,
        hash: Hash | None,  # noqa: A002 (as above)
        settings: DownloadSettings,
        progress: Progress | None,
        transport: Transport,
        partial: Partial,
    ) -> None:
        self.name = name
        self.hash = hash
        self.settings = settings
        self.progress = progress
        self.transport = transport
        self.partial = partial
        self.attempts: list[str] = []
        self.started = False
        self._mismatches: list[tuple[str, Hash]] = []

    def run(self, candidates: Sequence[str]) -> str:
        """Return the source whose contents are now in the partial file, complete and right."""
        for url in candidates:
            if self._fetch(url):
                return url
            # Two sources that agree settle what the file is now.
            if len({found for _, found in self._mismatches}) < len(self._mismatches):
                break
        if self._mismatches and self.hash is not None:
            raise self._mismatch(self.hash)
        lines = "".join(
            f"\n  {line}" + (f" ({count} times)" if count > 1 else "")
            for line, count in Counter(self.attempts).items()
        )
        raise DownloadFailed(
            f"'{self.name}' could not be downloaded:{lines}",
            "check the URL and the network; a part that was fetched is kept and resumed",
            self.attempts,
        )

    def found(self) -> Hash:
        """Return the hash of what is in the partial file."""
        return self.partial.hash()

    def _fetch(self, url: str) -> bool:
        """Try one source as often as that may help; tell whether its contents are right."""
        from plxnix.builders.replies import SourceFailed

        tries = 0
        while True:
            tries += 1
            try:
                self._transfer(url)
            except SourceFailed as failure:
                self.attempts.append(f"{redact(url)}: {failure}")
                if not failure.transient or tries >= self.settings.tries:
                    return False
                time.sleep(self._pause(tries, failure.after))
                continue
            found = self.found()
            if self.hash is None or found == self.hash:
                return True
            resumed = self.partial.resumed
            self.partial.restart()
            if not resumed:
                self.attempts.append(f"{redact(url)}: it has the hash {found.sri}")
                self._mismatches.append((url, found))
                return False
            # The part from before may be to blame.
            self.attempts.append(f"{redact(url)}: the resumed file has the hash {found.sri}")

    def _transfer(self, url: str) -> None:
        """Bring the whole of a source into the partial file, or raise `SourceFailed`."""
        from plxnix.builders.replies import (
            SourceFailed,
            content_length,
            content_range,
            status_failed,
        )

        reply = self.transport.get(url, self._range(url))
        try:
            if reply.status == 416 and self.partial.size:
                # The file is shorter now than our part of it.
                reply.close()
                self.partial.restart()
                reply = self.transport.get(url, {})
            total = content_length(reply)
            if reply.status == 206 and self.partial.size:
                start, total = content_range(reply)
                size = self.partial.size
                if start != size:
                    self.partial.restart()
                    raise SourceFailed(
                        f"asked for bytes from {size}, it sent those from {start}",
                        transient=True,
                    )
                self.partial.resumed = True
            elif reply.status == 200:
                self.partial.restart(_validator(url, reply))
            else:
                raise status_failed(reply, self.settings.longest_wait)
            self._check_size(total)
            self._receive(reply, total)
        finally:
            reply.close()

    def _receive(self, reply: Reply, total: int | None) -> None:
        from plxnix.builders.replies import SourceFailed

        if self.progress is not None:
            self.started = True
            self.progress.start(self.name, total)
            self.progress.advance(self.partial.size)
        for data in reply.pieces():
            self._check_size(self.partial.size + len(data))
            self.partial.write(data)
            if self.progress is not None:
                self.progress.advance(len(data))
        if total is not None and self.partial.size != total:
            size = self.partial.size
            if size > total:
                self.partial.restart()
            raise SourceFailed(f"it sent {size} bytes, not {total} as it said", transient=True)

    def _check_size(self, size: int | None) -> None:
        from plxnix.builders.replies import SourceFailed

        limit = self.settings.max_size
        if limit is not None and size is not None and size > limit:
            self.partial.restart()
            raise SourceFailed(f"it is larger than the {limit} bytes that are allowed")

    def _range(self, url: str) -> dict[str, str]:
        """Return the headers that ask for the rest only; start over if it is of other contents.

        A modification date counts in seconds, so it is trusted only where a hash has the last word.
        """
        validator = self.partial.validator
        if (
            self.partial.size
            and validator is not None
            and validator.url == redact(url)
            and (validator.strong or self.hash is not None)
        ):
            return {"Range": f"bytes={self.partial.size}-", "If-Range": validator.value}
        return {}

    def _pause(self, tries: int, after: float) -> float:
        """Return the seconds to wait before the next try."""
        chance = int.from_bytes(os.urandom(2), "big") / 0xFFFF
        pause: float = self.settings.backoff * 2 ** (tries - 1) * (1 - chance / 2)
        return min(max(pause, after), self.settings.longest_wait)

    def _mismatch(self, expected: Hash) -> HashMismatch:
        url, found = self._mismatches[-1]
        return HashMismatch(
            f"'{self.name}' from '{redact(url)}' has another hash than specified\n"
            f"  specified: {expected.sri}\n"
            f"  got:       {found.sri}",
            f"if the new contents are right, set {found.algorithm} to '{found.sri}'",
            expected=expected.sri,
            found=found.sri,
        )


def _validator(url: str, reply: Reply) -> Validator | None:
    """Return what the reply gives to resume it by, if anything."""
    from plxnix.builders.partial import Validator

    tag = reply.headers.get("etag", "")
    if tag.startswith('"'):
        return Validator(redact(url), tag, strong=True)
    date = reply.headers.get("last-modified", "")
    return Validator(redact(url), date, strong=False) if date else None
