"""The main job on one machine, to look at: an embedded PostgreSQL, pictures over HTTP, and the real daemon."""
