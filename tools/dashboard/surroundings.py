"""Panels of what the daemon lives by: sweep and listener, the database, HTTP, its process."""

from tools.dashboard.panel import RATE, Form, Panel, age, of_database, quantile

REQUESTS = "vectord_http_requests_total"
USERS = 'route!~"/health|/ready|/metrics"'
"""Requests of people and programs, not of probes."""
ALL_REQUESTS = f"sum by (instance) (rate({REQUESTS}{{$$, {USERS}}}{RATE}))"
FAILED_REQUESTS = f'sum by (instance) (rate({REQUESTS}{{$$, {USERS}, status=~"5.."}}{RATE}))'

WAKING = (
    Panel(
        title="Listener",
        text="Daemons by the state of their LISTEN: listening, reconnecting, poll-only (a pooler swallows it), or off.",
        unit="short",
        queries={"{{state}}": "sum by (state) (vectord_listener_state{$$})"},
        form=Form.AREAS,
    ),
    Panel(
        title="Silence of the listener",
        text="Since a daemon last heard its own notification; every 10 s when all is well.",
        unit="s",
        queries={"{{instance}}": "time() - max by (instance) (vectord_listener_heartbeat_timestamp_seconds{$$} > 0)"},
    ),
    Panel(
        title="Since the last sweep",
        text="Since some daemon last swept a window, and since a whole cycle ended.",
        unit="s",
        queries={
            "window": age("vectord_sweep_tick_timestamp_seconds"),
            "cycle": age("vectord_sweep_cycle_end_timestamp_seconds"),
        },
    ),
    Panel(
        title="The present cycle",
        text="Images that this cycle of the sweep has looked at, and those that it has queued.",
        unit="short",
        queries={
            "looked at": of_database("vectord_sweep_cycle_looked"),
            "queued": of_database("vectord_sweep_cycle_found"),
        },
        width=12,
    ),
    Panel(
        title="Reprocess",
        text="Images that a running reprocess has yet to do, estimated; 0 without one.",
        unit="short",
        queries={"{{job}}": of_database("vectord_reprocess_left")},
        width=12,
    ),
)

DATABASE = (
    Panel(
        title="Database",
        text="1 when a daemon's last look at the database succeeded.",
        unit="bool_yes_no",
        queries={"{{instance}}": "min by (instance) (vectord_database_up{$$})"},
        most=1,
    ),
    Panel(
        title="Connections",
        text="Of each daemon: in use at the scrape, and as many as may be.",
        unit="short",
        queries={
            "{{instance}} in use": "max by (instance) (vectord_database_pool_connections{$$})",
            "{{instance}} pool size": "max by (instance) (vectord_database_pool_size{$$})",
        },
    ),
    Panel(
        title="Time of a look",
        text="What the metrics' own look at the database takes, every 10 s: a measure of how the database does.",
        unit="s",
        queries={"{{instance}}": "max by (instance) (vectord_database_look_seconds{$$})"},
    ),
    Panel(
        title="Notification queue",
        text="Share of PostgreSQL's notification queue in use, whoever filled it. When full, notifying commits fail.",
        unit="percentunit",
        queries={"{{job}}": of_database("vectord_notification_queue_ratio")},
        width=6,
    ),
    Panel(
        title="Oldest transaction",
        text="Since it began. A long one keeps vacuum from the table of jobs. Absent without one.",
        unit="s",
        queries={"{{job}}": age("vectord_oldest_transaction_timestamp_seconds")},
        width=6,
    ),
    Panel(
        title="Table of jobs",
        text="Its size with its indexes.",
        unit="bytes",
        queries={"{{job}}": of_database("vectord_job_table_bytes")},
        width=6,
    ),
    Panel(
        title="Dead rows in the table of jobs",
        text="Rows that only vacuum can remove, estimated. If they only grow, something holds vacuum up.",
        unit="short",
        queries={"{{job}}": of_database("vectord_job_table_dead_rows")},
        width=6,
    ),
)

HTTP = (
    Panel(
        title="Requests",
        text="Requests answered, by route and status.",
        unit="reqps",
        queries={
            "{{method}} {{route}} {{status}}": f"sum by (method, route, status) (rate({REQUESTS}{{$$}}{RATE})) > 0"
        },
        form=Form.AREAS,
    ),
    Panel(
        title="Requests that failed",
        text="Share of the requests answered with a 5xx; health and metrics left out. Absent without requests.",
        unit="percentunit",
        queries={
            "{{instance}}": f"({FAILED_REQUESTS} or 0 * {ALL_REQUESTS}) / {ALL_REQUESTS}",
        },
    ),
    Panel(
        title="Time of a request, 95 %",
        text="From its first line to the end of its answer: 5 % took longer.",
        unit="s",
        queries=quantile("vectord_http_seconds", "route"),
    ),
    Panel(
        title="Waiting requests",
        text="Requests for a vector that are in work, and that wait for a place. When too many do: 429.",
        unit="short",
        queries={
            "{{instance}} in work": "sum by (instance) (vectord_http_places_taken{$$})",
            "{{instance}} places": "sum by (instance) (vectord_http_places{$$})",
            "{{instance}} waiting": "sum by (instance) (vectord_http_waiting{$$})",
            "{{instance}} may wait": "sum by (instance) (vectord_http_waiting_limit{$$})",
        },
        width=12,
    ),
    Panel(
        title="Pictures of callers",
        text="Pictures embedded for callers of the API, which are no images of the table, by what became of them.",
        unit="suffix: pictures/s",
        queries={"{{status}}": f"sum by (status) (rate(vectord_extracts_total{{$$}}{RATE}))"},
        form=Form.AREAS,
        width=12,
    ),
)


PROCESS = (
    Panel(
        title="Main process: CPU",
        text="Cores that each daemon's main process uses; its loaders have panels of their own.",
        unit="suffix: cores",
        queries={"{{instance}}": f"sum by (instance) (rate(process_cpu_seconds_total{{$$}}{RATE}))"},
    ),
    Panel(
        title="Main process: memory",
        text="Resident memory of each daemon's main process.",
        unit="bytes",
        queries={"{{instance}}": "max by (instance) (process_resident_memory_bytes{$$})"},
    ),
    Panel(
        title="Since the start",
        text="How long each daemon has run.",
        unit="s",
        queries={"{{instance}}": "time() - max by (instance) (process_start_time_seconds{$$})"},
    ),
)
