"""Panels of the work: how much there is, how it goes, what fails."""

from tools.dashboard.panel import IMAGES_PER_SECOND, RATE, Form, Panel, age, of_database, quantiles

STORED = f'sum by (job) (rate(vectord_images_total{{$$, status="stored"}}{RATE}))'
SETTLED = f'sum by (job) (rate(vectord_images_total{{$$, status=~"stored|dead"}}{RATE}))'
ETA = f"{of_database('vectord_pending_jobs')} / ({SETTLED} > 0)"
REPROCESS_ETA = f"{of_database('vectord_reprocess_left')} / ({STORED} > 0)"
FAILED = f'sum by (job) (rate(vectord_failures_total{{$$, class!="system"}}{RATE}))'
TRIED = f'sum by (job) (rate(vectord_images_total{{$$, status!="released"}}{RATE}))'
FAILURE_SHARE = f"{FAILED} / ({TRIED} > 0)"

OVERVIEW = (
    Panel(
        title="Daemons up",
        text="Daemons that Prometheus can scrape.",
        unit="short",
        queries={"{{job}}": "sum by (job) (up{$$})"},
        form=Form.NUMBER,
        width=3,
        bounds=(1,),
        colours=("red", "green"),
    ),
    Panel(
        title="Healthy",
        text="1 while every stage of every daemon runs and gets on; /health says what is wrong otherwise.",
        unit="bool_yes_no",
        queries={"{{job}}": "min by (job) (vectord_healthy{$$})"},
        form=Form.NUMBER,
        width=3,
        bounds=(1,),
        colours=("red", "green"),
    ),
    Panel(
        title="Vectors stored",
        text="By all daemons together.",
        unit=IMAGES_PER_SECOND,
        queries={"{{job}}": STORED},
        form=Form.NUMBER,
        width=3,
    ),
    Panel(
        title="Backlog",
        text="Jobs that wait or are worked on. Counting stops at 100,000. A sweep feeds the queue only up to "
        "queue.high_water, so more may be to come.",
        unit="short",
        queries={"{{job}}": of_database("vectord_pending_jobs")},
        form=Form.NUMBER,
        width=3,
    ),
    Panel(
        title="Backlog done in",
        text="At the present rate, if nothing is added. At least: counting stops at 100,000.",
        unit="s",
        queries={"{{job}}": ETA},
        form=Form.NUMBER,
        width=3,
        bounds=(3600, 86400),
        colours=("green", "yellow", "red"),
    ),
    Panel(
        title="Failures",
        text="Share of the attempts that failed, but for those that are no image's fault.",
        unit="percentunit",
        queries={"{{job}}": FAILURE_SHARE},
        form=Form.NUMBER,
        width=3,
        bounds=(0.01, 0.05),
        colours=("green", "yellow", "red"),
    ),
    Panel(
        title="Dead jobs",
        text="Images that failed for good: `python -m daemon failures` lists them, `retry` tries them again.",
        unit="short",
        queries={"{{job}}": of_database("vectord_dead_jobs")},
        form=Form.NUMBER,
        width=3,
    ),
    Panel(
        title="Latency, 95 %",
        text="From the making of a job to the commit of its vector: 5 % took longer.",
        unit="s",
        queries={
            "{{job}}": f"histogram_quantile(0.95, sum by (le, job) (rate(vectord_latency_seconds_bucket{{$$}}{RATE})))"
        },
        form=Form.NUMBER,
        width=3,
    ),
)

BACKLOG = (
    Panel(
        title="Backlog",
        text="Pending jobs: in work, due, or waiting for a retry. Counting stops at 100,000.",
        unit="short",
        queries={
            "pending": of_database("vectord_pending_jobs"),
            "due": of_database("vectord_due_jobs"),
            "in work": of_database("vectord_leased_jobs"),
        },
    ),
    Panel(
        title="Throughput",
        text="Claims settled, by what became of them.",
        unit=IMAGES_PER_SECOND,
        queries={"{{status}}": f"sum by (status) (rate(vectord_images_total{{$$}}{RATE}))"},
        form=Form.AREAS,
    ),
    Panel(
        title="Time to finish",
        text="The backlog, and a reprocess that runs, at the present rate. The latter is 0 without one.",
        unit="s",
        queries={"backlog": ETA, "reprocess": REPROCESS_ETA},
    ),
    Panel(
        title="Age of the oldest job",
        text="Since the oldest pending job was made, and since the due job that waited longest is due.",
        unit="s",
        queries={
            "pending": age("vectord_oldest_pending_timestamp_seconds"),
            "due": age("vectord_oldest_due_timestamp_seconds"),
        },
    ),
    Panel(
        title="Latency",
        text="From the making of a job to the commit of its vector. A backfill's images wait for their turn, too.",
        unit="s",
        queries=quantiles("vectord_latency_seconds"),
    ),
    Panel(
        title="Images and vectors",
        text="Rows of the two tables, as PostgreSQL estimates them; foreign vectors were counted at the start.",
        unit="short",
        queries={
            "images": of_database("vectord_source_rows"),
            "vectors": of_database("vectord_target_rows"),
            "foreign vectors": of_database("vectord_foreign_vectors"),
        },
    ),
)

FAILURES = (
    Panel(
        title="Failures by reason",
        text="Failed attempts, retries among them. docs/reasons.md says what each reason means.",
        unit="suffix: failures/s",
        queries={"{{reason}}": f"sum by (reason) (rate(vectord_failures_total{{$$}}{RATE})) > 0"},
        form=Form.AREAS,
        width=12,
    ),
    Panel(
        title="Failures by class",
        text="permanent: dead at once. transient: tried again. crash: a loader died. system: no image's fault.",
        unit="suffix: failures/s",
        queries={"{{class}}": f"sum by (class) (rate(vectord_failures_total{{$$}}{RATE}))"},
        form=Form.AREAS,
        width=6,
    ),
    Panel(
        title="Dead jobs",
        text="Images that failed for good. Counting stops at 100,000.",
        unit="short",
        queries={"{{job}}": of_database("vectord_dead_jobs")},
        width=6,
    ),
    Panel(
        title="Faults of the surroundings",
        text="How often a stage had to pause: the database away, the engine out of order. No image is charged.",
        unit="suffix: faults/s",
        queries={"{{stage}}": f"sum by (stage) (rate(vectord_stage_faults_total{{$$}}{RATE}))"},
        form=Form.AREAS,
    ),
    Panel(
        title="Hosts left alone",
        text="Hosts that fail or ask to wait, just now, and images sent back because of them.",
        unit="short",
        queries={
            "hosts": "sum(vectord_hosts_left_alone{$$})",
            "images per second": f"sum(rate(vectord_host_left_alone_total{{$$}}{RATE}))",
        },
    ),
    Panel(
        title="Overtaken",
        text="Outcomes refused because the image had changed, gone or been taken over. Many of them: leases run out.",
        unit=IMAGES_PER_SECOND,
        queries={"{{instance}}": f"sum by (instance) (rate(vectord_overtaken_total{{$$}}{RATE}))"},
    ),
)
