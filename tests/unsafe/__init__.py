"""Settings modules that somebody might write, and that must not start. See tests/test_start_up.py."""
