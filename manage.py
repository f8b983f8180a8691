#!/usr/bin/env python
"""Django's command line for Partner Desk."""

import os
import sys


def main() -> None:
    os.umask(0o077)  # what we write is for us alone
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "partnerportal.settings")
    from django.core.management import execute_from_command_line

    from partnerportal.checks import refuse_unsafe_start

    refuse_unsafe_start()  # not every command runs Django's checks
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
