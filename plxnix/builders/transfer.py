"""One request for a file: redirects, proxies, certificates and credentials; no retries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from plxnix.builders.replies import FileReply, HttpReply, Reply, SourceFailed, failed
from plxnix.builders.sources import redact
from plxnix.builders.surroundings import authorization, proxy_for, proxy_manager, tls_context
from plxnix.version import VERSION

if TYPE_CHECKING:
    import urllib3

    from plxnix.builders.download_settings import DownloadSettings

_REDIRECTS = (301, 302, 303, 307, 308)


class Transport:
    """Asks servers, by settings, environment and `.netrc`; close it when done."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._managers: dict[str, urllib3.PoolManager] = {}

    def close(self) -> None:
        """Close all connections."""
        for manager in self._managers.values():
            manager.clear()

    def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Ask for a URL, follow redirects, and return the last reply, whatever its status.

        Raises `SourceFailed` if there is none: no connection, a loop of redirects or more of them
        than allowed, one to another scheme than http and https, or a scheme that is not known.
        """
        if _split(url).scheme.lower() == "file":
            return FileReply(url)
        seen = [url]
        while True:
            reply = self._ask(url, seen[0], headers)
            location = reply.headers.get("location")
            if reply.status not in _REDIRECTS or location is None:
                return reply
            reply.close()
            url = _split(location, url).geturl()
            if url in seen:
                path = " -> ".join(redact(step) for step in [*seen[seen.index(url) :], url])
                raise SourceFailed(f"redirects go round in a loop: {path}")
            seen.append(url)
            if len(seen) > self._settings.redirects + 1:
                raise SourceFailed(f"more than {self._settings.redirects} redirects")
            if _split(url).scheme.lower() not in ("http", "https"):
                raise SourceFailed(f"a redirect to '{redact(url)}' is refused: not http or https")

    def _ask(self, url: str, first: str, headers: Mapping[str, str]) -> HttpReply:
        import urllib3
        from urllib3.exceptions import HTTPError, LocationValueError

        parts = _split(url)
        if parts.scheme.lower() not in ("http", "https"):
            raise SourceFailed(f"the scheme '{parts.scheme}' is not supported")
        sent = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": f"plxnix/{VERSION}",
            **headers,
            **authorization(url, first),
        }
        timeout = urllib3.Timeout(
            connect=self._settings.connect_timeout, read=self._settings.stall_timeout
        )
        try:
            response = self._manager(url).urlopen(
                "GET",
                # Credentials travel in their header only.
                parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl(),
                headers=sent,
                redirect=False,
                retries=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
        except LocationValueError:
            raise SourceFailed("the URL is malformed") from None
        except HTTPError as error:
            raise failed(error) from None
        return HttpReply(response, url)

    def _manager(self, url: str) -> urllib3.PoolManager:
        import urllib3

        parts = urlsplit(url)
        proxy = proxy_for(parts.scheme.lower(), parts.netloc.rpartition("@")[2])
        key = f"{parts.scheme.lower()} {proxy}"
        if key not in self._managers:
            # Loading the certificates takes some 20 ms, so only where they are used.
            context = (
                tls_context() if "https" in (parts.scheme.lower(), urlsplit(proxy).scheme) else None
            )
            if proxy:
                self._managers[key] = proxy_manager(proxy, context)
            else:
                self._managers[key] = urllib3.PoolManager(ssl_context=context)
        return self._managers[key]


def _split(url: str, base: str = "") -> SplitResult:
    try:
        parts = urlsplit(urljoin(base, url))
        # This is looked at to find a port that is no number.
        _ = parts.port
    except ValueError:
        raise SourceFailed("the URL is malformed") from None
    return parts
