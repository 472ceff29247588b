"""Ask the head of a cluster whether it answers and accepts the token of this machine, before Ray is imported."""

from __future__ import annotations

import os
import re
import socket

import grpc

from quorate.execution.ray.cluster import ClusterError
from quorate.execution.ray.token import choose_authentication, refusal_of, token_to_send

_SECONDS = 2.0
"""Time limit for a connection, and for an answer: an assumption. Ray itself waits for half a minute or longer."""
_FIRST_CALL = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""The call with which Ray connects to a head (`GcsClient`); it takes an empty message."""


def check_head(address: str) -> None:
    """Raise `ClusterError` if no Ray cluster answers at the address, or if it refuses the token.

    Call it before imports that take seconds, such as that of Ray, whose settings it chooses. Nothing is checked for
    `auto`, which Ray looks up itself. Of a head with TLS, only the port is checked.
    """
    choose_authentication()
    if not re.fullmatch(r"[\w.:\[\]-]+", address) or "://" in address:  # not repeated, as it may hold a secret
        raise ClusterError(
            "the address of a cluster is HOST:PORT, such as 10.0.0.1:6379, without a protocol and without a user name; "
            "to submit a job from outside the cluster's network, use quorate submit JOB.yaml --address http://HEAD:8265"
        )
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except TimeoutError:
        raise ClusterError(f"no Ray cluster answers at {address}: no answer in time; {_FIX}") from None
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ClusterError(f"no Ray cluster answers at {address}: {reason}; {_FIX}") from None
    if os.environ.get("RAY_USE_TLS", "0") == "0":
        _call(address)


_FIX = (
    "check the host and the port (6379 unless `ray start --head` was given another), and that the firewall lets this "
    "machine reach the nodes"
)


def _call(address: str) -> None:
    token = token_to_send()
    headers = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(_FIRST_CALL)(b"", timeout=_SECONDS, metadata=headers)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise ClusterError(refusal_of(address, missing=not token)) from None
            other = " (8265 is the port of the dashboard, for `quorate submit`)" if address.endswith(":8265") else ""
            raise ClusterError(
                f"{address} does not answer as the head of a Ray cluster: {error.code().name.lower()}{other}; {_FIX}"
            ) from None
