"""Bytes for a machine, and from it, that pass through the bucket for seconds, under addresses that are good for minutes."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from runctl.aws.names import default_bucket
from runctl.core.cancel import CancelToken, limited
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from runctl.aws.calls import AwsCalls
    from runctl.core.ports import Surroundings

URL_SECONDS = 900  # how long an address is good
REMOVE_SECONDS = 2.0  # for taking one away; the bucket drops what stays after a day


class Parcel:
    """One object below ``tmp/``. Raises what ``AwsCalls`` does, such as ``aws-bucket-missing``."""

    def __init__(self, calls: AwsCalls, surroundings: Surroundings, name: str) -> None:
        self._calls = calls
        self._setting = surroundings.setting
        self._name = name

    def fill(self, source: IO[bytes], cancel: CancelToken) -> str:
        """Put what is in ``source`` there; the address to read it from."""
        place = self._place(cancel)

        def put(client: Any) -> None:
            source.seek(0)
            client.put_object(**place, Body=source)

        self._calls.do("s3", "put_object", put, cancel=cancel)
        return self._signed("get_object", place)

    def address(self, cancel: CancelToken) -> str:
        """The address to write it to."""
        return self._signed("put_object", self._place(cancel))

    def read(self, cancel: CancelToken) -> bytes:
        """What was written."""
        place = self._place(cancel)

        def get(client: Any) -> bytes:
            return bytes(client.get_object(**place)["Body"].read())

        return self._calls.do("s3", "get_object", get, cancel=cancel)

    def remove(self) -> None:
        """Take it away; one that is not there, or cannot be reached, is let be."""
        try:
            with limited(CancelToken(), REMOVE_SECONDS) as short:
                place = self._place(short)
                self._calls.do("s3", "delete_object", lambda s3: s3.delete_object(**place), cancel=short)
        except RunctlError:
            return

    def _place(self, cancel: CancelToken) -> dict[str, str]:
        bucket = str(self._setting("aws.bucket") or "") or default_bucket(
            self._calls.identity(cancel).account, self._calls.session.region
        )
        prefix = str(self._setting("aws.prefix")).strip("/")
        return {"Bucket": bucket, "Key": "/".join(filter(None, (prefix, "tmp", self._name)))}

    def _signed(self, operation: str, place: dict[str, str]) -> str:
        client = self._calls.client("s3")
        return str(client.generate_presigned_url(operation, Params=place, ExpiresIn=URL_SECONDS))
