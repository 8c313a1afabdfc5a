"""The doctor behind `python -m daemon check`: looks at everything that the daemon stands on, and changes none of it.

    looks ─ facts ─ judges ─ findings

`examination` joins them, in the order in which somebody would mend things.
"""
