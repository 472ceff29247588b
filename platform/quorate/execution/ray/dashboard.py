"""The dashboard of a cluster's head: its address, a first request, and why it does not answer."""

from __future__ import annotations

import os
import ssl
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from quorate.execution.ray.cluster import ClusterError
from quorate.execution.ray.token import choose_authentication, refusal_of, token_to_send

ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Ray's variable for the address of the dashboard."""

_AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Variables of OpenSSL and of the library requests. Ray's client uses both, for different requests."""
_KNOCK_SECONDS = 4.0
"""Time limit for a first answer, before Ray is imported. An assumption."""


class ServerSilent(ClusterError):
    """The dashboard does not answer; it may later."""


def address_of(given: str | None) -> str:
    """The address of a dashboard, from an option or the environment; raises `ClusterError`."""
    from_ray = os.environ.get("RAY_ADDRESS", "")
    address = given or os.environ.get(ADDRESS) or (from_ray if from_ray.startswith(("http://", "https://")) else "")
    if not address:
        raise ClusterError(f"give the address of the cluster's dashboard: --address http://HEAD:8265, or set {ADDRESS}")
    if set("@?#") & set(address):  # not repeated, as it may hold a secret
        raise ClusterError("the address of a dashboard has no user name, password or parameters: http://HEAD:8265")
    if not address.startswith(("http://", "https://")) or not urlsplit(address).hostname:
        raise ClusterError(
            f"--address {address} is not the address of a dashboard, such as http://HEAD:8265 (the port of Ray itself, "
            "often 6379, is for `quorate train --address`)"
        )
    return address


def knock(address: str) -> None:
    """Raise `ClusterError` if no dashboard answers, or if it refuses the token.

    Call it before imports that take seconds, such as that of Ray, whose settings it chooses.
    """
    choose_authentication()
    mode, token = os.environ["RAY_AUTH_MODE"], token_to_send()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(f"{address}/api/version", headers=headers)  # noqa: S310 - http:// or https://, see `address_of`
    try:
        context = ssl.create_default_context(cafile=authorities()) if address.startswith("https://") else None
        urlopen(request, timeout=_KNOCK_SECONDS, context=context).close()  # noqa: S310
    except HTTPError as refusal:
        if refusal.code in (401, 403) and mode in ("token", "disabled"):
            raise ClusterError(refusal_of(address, missing=refusal.code == 401)) from None
        if refusal.code not in (401, 403):
            raise ServerSilent(
                f"{address} does not answer as the dashboard of a Ray cluster (HTTP status {refusal.code}); check the "
                "host and the port (8265 unless `ray start` was given another)"
            ) from None
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, URLError) and isinstance(error.reason, ssl.SSLCertVerificationError):
            raise ClusterError(
                f"the certificate of {address} is not trusted: {error.reason.verify_message}; if an authority of your "
                f"own has signed it, set {_AUTHORITIES[0]} to the file with the certificate of that authority"
            ) from None
        raise ServerSilent(
            f"no Ray dashboard answers at {address}: {reason_of(error)}; check the host and the port (8265 unless "
            "`ray start` was given another), and that the head was started with --dashboard-host 0.0.0.0, or use an "
            "SSH tunnel"
        ) from None


def authorities() -> str | None:
    """The file with the certificates of trusted authorities; None for those of the system."""
    return next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), None)


def reason_of(error: Exception) -> str:
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        return reason_of(error.reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, HTTPException):  # its message repeats what another kind of server has sent
        return "what listens there does not speak HTTP"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().splitlines()[0].rstrip(".")[:300] if str(error).strip() else type(error).__name__
