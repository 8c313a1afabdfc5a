"""A dashboard of the panels.

Grafana's own types (grafana-foundation-sdk, of requirements-dev.txt) say what a dashboard is.
"""

from collections.abc import Mapping, Sequence
from itertools import count

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as shared
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)

from tools.dashboard.panel import SELECT, Form, Panel

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT, STAT_HEIGHT = 7, 4
ALL = VariableOption(text="All", value="$__all", selected=True)

Queries = list[Builder[Dataquery]]


def build(rows: Mapping[str, Sequence[Panel]]) -> dashboard.Dashboard:
    """The whole dashboard: rows of panels by their titles."""
    number = count(1)
    board = (
        dashboard.Dashboard("vectord")
        .uid("vectord")
        .description("Keeps a table of image vectors in step with a table of images. See docs/metrics.md.")
        .tags(["vectord"])
        .timezone("browser")
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-3h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_choice("job", "Job", "label_values(vectord_healthy, job)"))
        .with_variable(_choice("instance", "Instance", 'label_values(vectord_healthy{job=~"$job"}, instance)'))
    )
    for title, panels in rows.items():
        board.with_row(dashboard.Row(title).id(next(number)))
        for panel in panels:
            made = _stat(panel) if panel.form is Form.NUMBER else _series(panel)
            board.with_panel(made.id(next(number)))
    return board


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable filled from the series that there are; all of them at first."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(multi=True)
        .include_all(include_all=True)
        .current(ALL)
    )


def _queries(panel: Panel) -> Queries:
    return [
        prometheus.Dataquery()
        .ref_id(chr(ord("A") + at))
        .datasource(SOURCE)
        .expr(query.replace("$$", SELECT))
        .legend_format(legend)
        .range()
        for at, (legend, query) in enumerate(panel.queries.items())
    ]


def _series(panel: Panel) -> timeseries.Panel:
    """Lines over time; areas upon each other where the panel says so."""
    stacked = panel.form is Form.AREAS
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.text)
        .datasource(SOURCE)
        .unit(panel.unit)
        .height(HEIGHT)
        .span(panel.width)
        .min(0)
        .fill_opacity(30 if stacked else 5)
        .stacking(common.StackingConfig().mode(shared.StackingMode.NORMAL if stacked else shared.StackingMode.NONE))
        .show_points(shared.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(shared.TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(shared.LegendDisplayMode.LIST)
            .placement(shared.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
    )
    if panel.most is not None:
        made.max(panel.most)
    return made.targets(_queries(panel))


def _stat(panel: Panel) -> stat.Panel:
    """The present value, large."""
    colours = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(_steps(panel))
    return (
        stat.Panel()
        .title(panel.title)
        .description(panel.text)
        .datasource(SOURCE)
        .unit(panel.unit)
        .height(STAT_HEIGHT)
        .span(panel.width)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(shared.BigValueGraphMode.AREA)
        .thresholds(colours)
        .no_value("–")
        .targets(_queries(panel))
    )


def _steps(panel: Panel) -> list[Threshold]:
    """Green, and another colour from each bound on. The first has no bound: it is for all below."""
    steps = [Threshold(value=None, color=panel.colours[0])]
    return steps + [
        Threshold(value=at, color=colour) for at, colour in zip(panel.bounds, panel.colours[1:], strict=True)
    ]
