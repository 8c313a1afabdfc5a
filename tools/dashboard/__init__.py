"""Makes the Grafana dashboard: `python -m tools.dashboard > systemd/monitoring/vectord-dashboard.json`."""
