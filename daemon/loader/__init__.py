"""Fetches and decodes images in child processes, the one place where bytes from outside are touched.

    submit ─ intake ─ child: fetch → decode → resize ─ shared slot ─ deliver
                 └──────────────── Failure ────────────────┘

The parent's side (`pool` and what it uses) imports neither requests nor Pillow; the child's side (`worker` and what it
uses) imports neither numpy nor anything of the daemon outside of this package but `errors`, `clock` and `fairness`.
What both know: `options`, `wire`, `location`, `shared`.
"""
