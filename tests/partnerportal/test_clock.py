"""The one clock of the portal, and the file that moves it in the sandbox."""

from datetime import UTC, datetime, timedelta

import pytest

from partnerportal import clock


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("-90", -90), ("3600.5", 3600.5), ("", 0), ("soon", 0), ("nan", 0), ("inf", 0), ("1e300", 0), ("-1e12", 0)],
)
def test_the_file_moves_the_clock_by_a_number_of_seconds_and_by_nothing_else(said, seconds, settings, tmp_path):
    file = tmp_path / "clock_offset"
    file.write_text(said)
    settings.CLOCK_OFFSET_FILE = str(file)
    moved = clock.now() - datetime.now(UTC)
    assert abs(moved - timedelta(seconds=seconds)) < timedelta(seconds=5)
