"""Times of S3, against what the standard library makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from runctl.s3.moments import epoch, epoch_of_header

START = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 200 * 366 * 86400).map(lambda seconds: START + timedelta(seconds=seconds))


@given(MOMENTS)
def test_headers(moment: datetime) -> None:
    assert epoch_of_header(format_datetime(moment, usegmt=True)) == moment.timestamp()


@given(MOMENTS, st.integers(0, 999))
def test_xml(moment: datetime, milliseconds: int) -> None:
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S")
    assert epoch(stamp + "Z") == moment.timestamp()
    assert abs(epoch(f"{stamp}.{milliseconds:03}Z") - moment.timestamp() - milliseconds / 1000) < 1e-6
