"""vectord keeps a table of image vectors in step with a table of images.

Read `daemon.pipeline` first: its docstring is the way of the data.
"""

VERSION = "1.0.0"
"""Semantic: the first number is that of the configuration's keys, the tables and the REST API."""
