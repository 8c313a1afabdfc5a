"""Gauges that are read when someone asks: sources of readings, as one collector of prometheus_client."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.telemetry.declarations import BY_NAME, Declared, Kind


class Reading(NamedTuple):
    """A value of a declared metric, with the values of its labels."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


Family = GaugeMetricFamily | CounterMetricFamily
Source = Callable[[], Iterable[Reading]]


class Readings(Collector):
    """Asks its sources at each scrape. They must neither block nor raise; what they leave out is absent."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        self._sources.append(source)

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Family] = {}
        for source in list(self._sources):
            for reading in source():
                family = families.setdefault(reading.name, _family(BY_NAME[reading.name]))
                family.add_metric(reading.labels, reading.value)
        return families.values()


def moment(name: str, when: datetime | None) -> list[Reading]:
    """A timestamp; absent where it has none."""
    return [] if when is None else [Reading(name, when.timestamp())]


def _family(metric: Declared) -> Family:
    made = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    return made(metric.family, metric.text, labels=metric.labels)
