"""Writes the dashboard to standard output."""

import sys

from tools.dashboard.page import page

sys.stdout.write(page())
