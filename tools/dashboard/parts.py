"""Panels of the daemon's parts: stages, loaders, engine."""

from tools.dashboard.panel import IMAGES_PER_SECOND, RATE, Panel, quantile

STAGES = (
    Panel(
        title="Queue fill",
        text="Images waiting in front of each stage, as a share of what may be in work. The bottleneck is the stage "
        "whose queue is full while those behind it are empty.",
        unit="percentunit",
        queries={
            "{{stage}}": "sum by (stage) (vectord_stage_queue_items{$$})"
            " / sum by (stage) (vectord_stage_queue_capacity{$$})"
        },
        most=1,
    ),
    Panel(
        title="Time busy",
        text="Share of its time that each one-threaded stage works, mean of the daemons: near 100 % is the bottleneck.",
        unit="percentunit",
        queries={
            "{{stage}}": f'avg by (stage) (rate(vectord_stage_seconds_sum{{$$, stage!="load"}}{RATE}))',
        },
        most=1,
    ),
    Panel(
        title="In work",
        text="Images that each stage has in hand, and all claims between their lease and their outcome.",
        unit="short",
        queries={
            "{{stage}}": "sum by (stage) (vectord_stage_in_progress{$$})",
            "in flight": "sum(vectord_in_flight{$$})",
            "limit": "sum(vectord_in_flight_limit{$$})",
        },
    ),
    Panel(
        title="Stage latency, 95 %",
        text="Time of a claim, of loading an image, of embedding or storing a batch, of a tick of the sweep.",
        unit="s",
        queries=quantile("vectord_stage_seconds", "stage"),
    ),
    Panel(
        title="Stage throughput",
        text="Items that each stage works on. Where they differ, work gathers between.",
        unit=IMAGES_PER_SECOND,
        queries={"{{stage}}": f"sum by (stage) (rate(vectord_stage_items_total{{$$}}{RATE}))"},
    ),
    Panel(
        title="Batch fill",
        text="Mean size of a batch as a share of a full one: near 100 % under load, low in a trickle.",
        unit="percentunit",
        queries={
            "{{instance}}": f"sum by (instance) (rate(vectord_batch_size_sum{{$$}}{RATE}))"
            f" / sum by (instance) (rate(vectord_batch_size_count{{$$}}{RATE}))"
            " / max by (instance) (vectord_batch_limit{$$})",
        },
        most=1,
    ),
)

LOADERS = (
    Panel(
        title="Loaders",
        text="Loader processes that are up, and that ought to be.",
        unit="short",
        queries={
            "{{instance}} up": "sum by (instance) (vectord_loaders{$$})",
            "{{instance}} wanted": "sum by (instance) (vectord_loaders_wanted{$$})",
        },
    ),
    Panel(
        title="Loaders ended",
        text="Recycled or told to go (expected), over an image (unexpected), or before they had done anything.",
        unit="short",
        queries={
            "{{end}}": "sum by (end) (increase(vectord_loader_ends_total{$$}[$__rate_interval]))",
            "not started": "sum(increase(vectord_loader_start_failures_total{$$}[$__rate_interval]))",
        },
    ),
    Panel(
        title="Fetch and decode, 95 %",
        text="Time to fetch an image and to decode it: 5 % took longer.",
        unit="s",
        queries={
            "fetch": f"histogram_quantile(0.95, sum by (le) (rate(vectord_fetch_seconds_bucket{{$$}}{RATE})))",
            "decode": f"histogram_quantile(0.95, sum by (le) (rate(vectord_decode_seconds_bucket{{$$}}{RATE})))",
        },
    ),
    Panel(
        title="Loader CPU",
        text="Cores that all loaders of a daemon use.",
        unit="suffix: cores",
        queries={"{{instance}}": f"sum by (instance) (rate(vectord_loader_cpu_seconds_total{{$$}}{RATE}))"},
    ),
    Panel(
        title="Loader memory",
        text="Resident memory of all loaders of a daemon, what they share counted for each, and of the largest.",
        unit="bytes",
        queries={
            "{{instance}} all": "sum by (instance) (vectord_loader_resident_memory_bytes{$$})",
            "{{instance}} largest": "max by (instance) (vectord_loader_largest_resident_memory_bytes{$$})",
        },
    ),
    Panel(
        title="Bytes fetched",
        text="Of images, as they came.",
        unit="Bps",
        queries={"{{instance}}": f"sum by (instance) (rate(vectord_fetched_bytes_total{{$$}}{RATE}))"},
    ),
)

ENGINE = (
    Panel(
        title="Model",
        text="What makes the vectors. Daemons of one database should agree; the newer configuration counts.",
        unit="short",
        queries={
            "{{signature}} {{backend}} {{device}} {{precision}}": "count by (signature, backend, device, precision)"
            " (vectord_model_info{$$})"
        },
    ),
    Panel(
        title="Engine trouble",
        text="Second choice taken (1), superseded (1), and how often the device's memory ran out.",
        unit="short",
        queries={
            "{{instance}} fallback": "max by (instance) (vectord_engine_fallback{$$})",
            "{{instance}} superseded": "max by (instance) (vectord_superseded{$$})",
            "{{instance}} out of memory": "sum by (instance)"
            f" (increase(vectord_engine_out_of_memory_total{{$$}}{RATE}))",
        },
    ),
    Panel(
        title="Batch size",
        text="Mean images in a batch, and as many as make a full one; halved whenever the device's memory ran out.",
        unit="short",
        queries={
            "{{instance}}": f"sum by (instance) (rate(vectord_batch_size_sum{{$$}}{RATE}))"
            f" / sum by (instance) (rate(vectord_batch_size_count{{$$}}{RATE}))",
            "{{instance}} limit": "max by (instance) (vectord_batch_limit{$$})",
        },
    ),
    Panel(
        title="GPU utilisation",
        text="Share of the time in which each GPU did something, for whatever program. Absent without an NVIDIA GPU.",
        unit="percentunit",
        queries={"{{instance}} gpu {{gpu}}": "max by (instance, gpu) (vectord_gpu_utilization_ratio{$$})"},
        width=12,
        most=1,
    ),
    Panel(
        title="GPU memory",
        text="In use by whatever program, and what there is. Absent without an NVIDIA GPU.",
        unit="bytes",
        queries={
            "{{instance}} gpu {{gpu}} used": "max by (instance, gpu) (vectord_gpu_memory_used_bytes{$$})",
            "{{instance}} gpu {{gpu}} size": "max by (instance, gpu) (vectord_gpu_memory_size_bytes{$$})",
        },
        width=12,
    ),
)
