"""What a request takes from the machine it runs on: credentials, proxies, certificates."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from plxnix.builders.sources import redact
from plxnix.errors import InvalidSetting

if TYPE_CHECKING:
    import ssl

    import urllib3

_CERTIFICATES = ("NIX_SSL_CERT_FILE", "SSL_CERT_FILE")


def authorization(url: str, first: str) -> dict[str, str]:
    """Return the header for basic authorization (RFC 7617), if there are credentials.

    They are those of the URL; else those of the first URL, where a redirect stays on its server;
    else those of `.netrc`.
    """
    from base64 import b64encode

    parts, origin = urlsplit(url), urlsplit(first)
    if parts.username is None and (parts.scheme, parts.hostname, parts.port) == (
        origin.scheme,
        origin.hostname,
        origin.port,
    ):
        found = origin.username, origin.password
    else:
        found = parts.username, parts.password
    if found[0] is not None:
        user, password = unquote(found[0]), unquote(found[1] or "")
    elif (entry := _netrc(parts.hostname or "")) is not None:
        user, password = entry
    else:
        return {}
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def netrc_path() -> str:
    """Return where the user keeps credentials: `$NETRC`, else `~/.netrc`."""
    return os.environ.get("NETRC") or os.path.expanduser("~/.netrc")


def _netrc(host: str) -> tuple[str, str] | None:
    """Return user and password for a host."""
    import netrc

    path = netrc_path()
    try:
        entry = netrc.netrc(path).authenticators(host)
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:
        # Its text may quote a password.
        raise InvalidSetting(
            f"'{path}' cannot be read: line {error.lineno} is malformed", "see netrc(5)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"'{path}' cannot be read: {type(error).__name__}") from None
    return None if entry is None else (entry[0] or entry[1] or "", entry[2] or "")


def proxy_for(scheme: str, authority: str) -> str:
    """Return the URL of the proxy that `http_proxy` and its like name for a server, or nothing."""
    from urllib import request

    proxies = request.getproxies_environment()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    if not proxy or request.proxy_bypass_environment(authority):  # type: ignore[attr-defined]
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def proxy_manager(proxy: str, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    import urllib3
    from urllib3.exceptions import LocationValueError, ProxySchemeUnknown

    parts = urlsplit(proxy)
    headers = None
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=secret)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        return urllib3.ProxyManager(bare, proxy_headers=headers, ssl_context=context)
    except (LocationValueError, ProxySchemeUnknown):
        raise InvalidSetting(
            f"the proxy '{redact(proxy)}' of the environment cannot be used",
            "set http_proxy and https_proxy to http://HOST:PORT or https://HOST:PORT",
        ) from None


def tls_context() -> ssl.SSLContext:
    """Return a context that verifies by the system's certificates, or those that are named."""
    import ssl

    for variable in _CERTIFICATES:
        if path := os.environ.get(variable):
            try:
                return ssl.create_default_context(cafile=path)
            except OSError as error:
                raise InvalidSetting(
                    f"{variable} names '{path}', from which no certificate can be read: "
                    f"{error.strerror or error}",
                    "name a file of certificates in PEM form, or unset it",
                ) from None
    return ssl.create_default_context()
