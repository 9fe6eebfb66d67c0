"""What Nix's fetchers say is read, and what says how patient a download is."""

from __future__ import annotations

import doctest

import pytest

from plxnix.builders.download_settings import DownloadSettings
from plxnix.errors import InvalidSetting
from plxnix.nix import faults
from plxnix.nix.faults import attempts, mismatch
from plxnix.nix.hashes import Hash

ZEROS, ONES = Hash("sha256", bytes(32)), Hash("sha256", b"\1" * 32)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("HTTP error 404 ('Not Found')", "HTTP 404 Not Found"),
        ("HTTP error 503; retrying in 250 ms", "HTTP 503 Service Unavailable"),
        ("HTTP error 599 ('x')", "HTTP 599"),
        ("HTTP error 302 ('Found') (curl error: Unsupported protocol)", "a redirect is refused"),
        ("HTTP error 200 (curl error: Timeout was reached)", "it stalled"),
        ("Couldn't resolve host name (6)", "the host's name cannot be resolved"),
        ("Could not resolve hostname (6) Could not resolve host: b", "the host's name cannot be"),
        ("Couldn't connect to server (7); retrying in 2 ms", "no connection: refused"),
        ("Something new (99)", "Something new"),
    ],
)
def test_reasons(said: str, reason: str) -> None:
    """Texts of several versions of Nix and curl become the words of the native downloader."""
    (found,) = attempts(f"warning: error: unable to download 'http://a/x': {said}\nerror: more\n")
    assert found.url == "http://a/x"
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    ("specified", "got"),
    [(ZEROS.sri, ONES.sri), (f"sha256:{ZEROS.base32}", f"sha256:{ONES.base32}")],
)
def test_mismatch(specified: str, got: str) -> None:
    """Both hashes are read, as SRI and in base 32; other text has none."""
    said = f"error: hash mismatch in x '/nix/store/y':\n  specified: {specified}\n  got: {got}\n"
    assert mismatch(said) == (ZEROS, ONES)
    assert mismatch(said.replace(got, "bad")) is None
    assert mismatch("error: something else") is None


def test_examples() -> None:
    """The example in the documentation holds."""
    assert doctest.testmod(faults).failed == 0


def test_tries() -> None:
    """`PLXNIX_DOWNLOAD_TRIES` is a whole number from 1."""
    assert DownloadSettings.from_environment({"PLXNIX_DOWNLOAD_TRIES": "2"}).tries == 2
    assert DownloadSettings.from_environment({}).tries == DownloadSettings.tries
    for wrong in ("0", "-1", "x", "1.5", "99999"):
        with pytest.raises(InvalidSetting, match="PLXNIX_DOWNLOAD_TRIES"):
            DownloadSettings.from_environment({"PLXNIX_DOWNLOAD_TRIES": wrong})
