"""vectord keeps a table of image vectors in step with a table of images.

Read `daemon.pipeline` first: its docstring is the way of the data.
"""
