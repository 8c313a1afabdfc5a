"""What the commands print: `screen` for people, `plain` for scripts."""
