"""Which web servers may be read from, and the connections to them."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from functools import cache

import urllib3
from urllib3.connection import HTTPSConnection

from pipeline.storage.errors import HostNotNamed
from pipeline.storage.uris import Location


def require_named(location: Location, hosts: Iterable[str]) -> None:
    """Raises HostNotNamed where an https location is on a host that is not among these (`host` or `host:port`)."""
    host = location.bucket or ""
    if location.scheme == "https" and not {host, _without_port(host)} & {name.lower() for name in hosts}:
        raise not_named(location, f"--http-hosts does not name the host {host}")


class _NamedConnection(HTTPSConnection):
    """Refuses link-local addresses, whatever name led to them: nothing is asked of them."""

    def connect(self) -> None:
        super().connect()
        address = ipaddress.ip_address(self.sock.getpeername()[0].split("%")[0])
        if (getattr(address, "ipv4_mapped", None) or address).is_link_local:
            self.close()
            raise not_named(Location(self.host, "", "https"), f"it has the link-local address {address}")


class _NamedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _NamedConnection


@cache
def pools(_file: str | None, _folder: str | None) -> urllib3.PoolManager:
    """Connections that trust the certificates of these environment variables, which Python reads by itself."""
    manager = urllib3.PoolManager(maxsize=16, ssl_context=ssl.create_default_context())
    manager.pool_classes_by_scheme = {"https": _NamedPool}
    return manager


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def not_named(location: Location, cause: str) -> HostNotNamed:
    """The error of a host that may not be read from."""
    return HostNotNamed(location.uri, "read", cause, "name the host in --http-hosts if it is to be read from")
