"""The daemon's dealings with the system that runs it: signals, and systemd's notifications."""
