"""Draws docs/dashboard.png: Grafana's dashboard as it would look now, with what a Prometheus server has scraped from `mas`.

Every panel of infra/grafana-dashboard.json is drawn in its place, its queries evaluated by that server. It is no part of CI.
Usage: python .ci/dashboard_picture.py http://localhost:9090 [--minutes 15] [--window 1m] [--out docs/dashboard.png], with the python of a venv made
from requirements-picture.txt.
"""

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import dates, pyplot, ticker
from matplotlib.patches import FancyBboxPatch, Rectangle

ROOT = Path(__file__).resolve().parent.parent
# The dark theme's colours, and the order in which series get theirs.
PAGE, CARD, EDGE, TEXT, FAINT = "#111217", "#181b1f", "#24272d", "#ccccdc", "#8e8e99"
NAMED = {
    "green": "#73bf69", "yellow": "#fade2a", "red": "#f2495c", "blue": "#5794f2", "orange": "#ff9830", "purple": "#b877d9",
    "super-light-blue": "#c0d8ff", "text": TEXT,
}  # fmt: skip
CLASSIC = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#fade2a", "#447ebc", "#c15c17"]
# Pixels of a column and of a row, of the gap between panels, of the head of the page and of a panel's title.
COLUMN, ROW, GAP, HEAD, TITLE = 60, 36, 8, 54, 34
LEGEND_LINE, LEGEND_LINES = 16, 3
# Where a logarithmic axis of seconds is marked: at round numbers of the unit that they are read in.
MARKS = [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 60, 600, 3600, 86400]


def evaluate(server, expression, start, end, step):
    """The series of an expression: (labels, times, values); what is no number is a gap."""
    query = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": step})
    with urllib.request.urlopen(f"{server.rstrip('/')}/api/v1/query_range?{query}", timeout=30) as response:
        result = json.load(response)["data"]["result"]
    grid = [start + index * step for index in range(round((end - start) / step) + 1)]
    series = []
    for found in result:
        values = {round(at, 3): float(value) for at, value in found["values"]}
        kept = [values.get(round(at, 3), math.nan) for at in grid]
        series.append((found["metric"], grid, [value if math.isfinite(value) else math.nan for value in kept]))
    return series


def scaled(value, units):
    for size, unit in units:
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def shown(value, unit, decimals=None):
    """A number as Grafana writes it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{100 * value:.{decimals}f}%" if decimals is not None else f"{100 * value:.3g}%"
    if unit == "currencyUSD":
        return f"${value:,.{decimals}f}" if decimals is not None else f"${value:.3g}"
    if unit == "s":
        if value == 0:
            return "0 s"
        size, name = next(((s, n) for s, n in ((86400, " d"), (3600, " h"), (60, " min"), (1, " s"), (1e-3, " ms")) if abs(value) >= s), (1e-6, " µs"))
        return f"{value / size:.{decimals}f}{name}" if decimals is not None else f"{value / size:.3g}{name}"
    suffix = unit.removeprefix("suffix:") if unit.startswith("suffix:") else ""
    if decimals is not None:
        return f"{value:,.{decimals}f}{suffix}"
    return scaled(value, ((1e6, " Mil"), (1e3, " K"))) + suffix


def colour(name):
    return NAMED.get(name, name)


class Picture:
    """A figure whose coordinates are pixels from the top left."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.figure = pyplot.figure(figsize=(width / 100, height / 100), dpi=100, facecolor=PAGE)
        self.renderer = self.figure.canvas.get_renderer()

    def at(self, x, y):
        return x / self.width, 1 - y / self.height

    def text(self, x, y, text, size=9, color=TEXT, **more):
        return self.figure.text(*self.at(x, y), text, fontsize=size, color=color, **{"va": "center", **more})

    def box(self, x, y, width, height, color, edge=None, rounding=0.0):
        left, bottom = self.at(x, y + height)
        size = width / self.width, height / self.height
        if rounding:
            shape = FancyBboxPatch(
                (x, self.height - y - height), width, height, boxstyle=f"round,pad=0,rounding_size={rounding}", facecolor=color,
                edgecolor=edge, linewidth=0.8, transform=None,
            )  # fmt: skip
        else:
            shape = Rectangle((left, bottom), *size, facecolor=color, edgecolor=edge, transform=self.figure.transFigure)
        # Below the axes, which lie on it.
        shape.set_zorder(-1)
        self.figure.add_artist(shape)

    def axes(self, x, y, width, height):
        left, bottom = self.at(x, y + height)
        axes = self.figure.add_axes((left, bottom, width / self.width, height / self.height), facecolor=CARD)
        axes.tick_params(colors=FAINT, labelsize=7.5, length=0, pad=4)
        axes.grid(color="#2c3037", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        return axes

    def text_width(self, text, size):
        probe = self.figure.text(0, 0, text, fontsize=size)
        width = probe.get_window_extent(self.renderer).width
        probe.remove()
        return width

    def legend(self, x, width, bottom, entries):
        """Entries of (name, colour) in as many lines as they need, the last one ending at the bottom. Gives the height."""
        lines, room = [[]], width
        for name, color in entries:
            needed = self.text_width(name, 8) + 30
            if lines[-1] and needed > room:
                lines.append([])
                room = width
            lines[-1].append((name, color, width - room))
            room -= needed
        if len(lines) > LEGEND_LINES:
            left_out = sum(map(len, lines[LEGEND_LINES:]))
            lines = lines[:LEGEND_LINES]
            # The last entry makes room for the note.
            left_out += 1
            *kept, (_, _, place) = lines[-1]
            lines[-1] = [*kept, (f"and {left_out} more", None, place)]
        for index, line in enumerate(lines):
            y = bottom - (len(lines) - 1 - index) * LEGEND_LINE - LEGEND_LINE / 2
            for name, color, place in line:
                if color:
                    self.box(x + place, y - 1.5, 13, 3, color)
                self.text(x + place + (18 if color else 0), y, name, 8)
        return len(lines) * LEGEND_LINE


def named(labels, legend):
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], match[1]), legend)


def coloured(panel, names):
    """The colour of each series: its override's, or the next of the palette."""
    fixed = {
        override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
        if override["properties"][0]["id"] == "color"
    }
    return {name: colour(fixed[name]) if name in fixed else CLASSIC[index % len(CLASSIC)] for index, name in enumerate(names)}


def draw_stat(picture, panel, series, x, y, width, height):
    defaults = panel["fieldConfig"]["defaults"]
    value = next((v for _, _, values in series for v in reversed(values) if not math.isnan(v)), math.nan)
    color = TEXT
    for step in defaults["thresholds"]["steps"]:
        if not math.isnan(value) and (step["value"] is None or value >= step["value"]):
            color = colour(step["color"])
    text = defaults.get("noValue", "No data") if math.isnan(value) else shown(value, defaults["unit"], defaults.get("decimals"))
    picture.text(x + width / 2, y + TITLE + (height - TITLE) / 2 - 6, text, 27, color, ha="center", weight="bold")


def draw_states(picture, panel, series, x, y, width, height, limits):
    mappings = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    names = sorted({name for name, _, _ in series})
    legend = picture.legend(x + 14, width - 28, y + height - 8, [(state["text"], colour(state["color"])) for state in mappings.values()])
    labels = {name: name if len(name) <= 34 else f"{name[:33]}\u2026" for name in names}
    margin = min(max(picture.text_width(label, 8) for label in labels.values()) + 22, width * 0.6)
    axes = picture.axes(x + margin, y + TITLE, width - margin - 16, height - TITLE - legend - 34)
    axes.grid(False)
    for row, name in enumerate(reversed(names)):
        _, times, values = next(one for one in series if one[0] == name)
        begin = 0
        for index in range(1, len(values) + 1):
            if index < len(values) and (values[index] == values[begin] or (math.isnan(values[index]) and math.isnan(values[begin]))):
                continue
            if not math.isnan(values[begin]):
                state = mappings.get(f"{values[begin]:g}", {"text": f"{values[begin]:g}", "color": "text"})
                first, last = times[begin], times[min(index, len(values) - 1)]
                axes.barh(row, (last - first) / 86400, left=first / 86400, height=0.72, color=colour(state["color"]), alpha=0.78)
                share = (last - first) / 86400 / (limits[1] - limits[0])
                if share * (width - margin) > picture.text_width(state["text"], 8) + 8:
                    axes.text((first + last) / 2 / 86400, row, state["text"], fontsize=8, color="#111217", ha="center", va="center")
            begin = index
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_yticks(range(len(names)), [labels[name] for name in reversed(names)])
    axes.tick_params(axis="y", labelcolor=TEXT, labelsize=8)
    clock(axes, limits, width)


def clock(axes, limits, width):
    axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=max(4, width // 50)))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M" if limits[1] - limits[0] > 4 / 1440 else "%H:%M:%S"))


def draw_series(picture, panel, series, x, y, width, height, limits):
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    stacking = custom.get("stacking", {}).get("mode", "none")
    logarithmic = custom.get("scaleDistribution", {}).get("type") == "log"
    colors = coloured(panel, [name for name, _, _ in series])
    legend = picture.legend(x + 14, width - 28, y + height - 8, list(colors.items()))
    axes = picture.axes(x + 62, y + TITLE, width - 62 - 16, height - TITLE - legend - 34)
    fill = custom["fillOpacity"] / 100
    if stacking == "none":
        for name, times, values in series:
            days = [at / 86400 for at in times]
            axes.plot(days, values, color=colors[name], linewidth=1.4, solid_capstyle="round")
            if fill and not logarithmic:
                axes.fill_between(days, values, color=colors[name], alpha=fill, linewidth=0)
    else:
        days = [at / 86400 for at in series[0][1]]
        layers = [[0 if math.isnan(value) else value for value in values] for _, _, values in series]
        if stacking == "percent":
            sums = [sum(column) for column in zip(*layers)]
            layers = [[value / total if total else math.nan for value, total in zip(layer, sums)] for layer in layers]
        axes.stackplot(days, layers, colors=[colors[name] for name, _, _ in series], alpha=max(fill, 0.6), linewidth=0)
    if logarithmic:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(max((mark for mark in MARKS if mark <= low), default=low), min((mark for mark in MARKS if mark >= high), default=high))
        axes.yaxis.set_major_locator(ticker.FixedLocator(MARKS))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    else:
        top = axes.get_ylim()[1]
        most = max((v for _, _, values in series for v in values if not math.isnan(v)), default=0)
        top = 1 if stacking == "percent" else defaults.get("max", top if most > 0 else 1)
        axes.set_ylim(0, top)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=defaults.get("decimals") == 0))
    if custom.get("thresholdsStyle", {}).get("mode") == "line":
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] < axes.get_ylim()[1]:
                axes.axhline(step["value"], color=colour(step["color"]), linewidth=1, linestyle=(0, (5, 3)))
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, defaults["unit"], defaults.get("decimals")))
    clock(axes, limits, width)


def draw(picture, panel, top, arguments, end):
    grid = panel["gridPos"]
    x, y = GAP + grid["x"] * COLUMN, top + grid["y"] * ROW
    width, height = grid["w"] * COLUMN - GAP, grid["h"] * ROW - GAP
    if panel["type"] == "row":
        picture.text(x + 4, y + height / 2, panel["title"], 11.5, weight="bold")
        return
    picture.box(x, y, width, height, CARD, EDGE, 3)
    picture.text(x + 12, y + 15, panel["title"], 9.5, weight="bold")
    seconds = arguments.minutes * 60
    step = max(1, round(seconds / 240))
    series = []
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", arguments.window).replace("$__range", f"{seconds}s")
        start = end if target.get("instant") else end - seconds // step * step
        found = evaluate(arguments.server, expression, start, end, step)
        series += sorted((named(labels, target["legendFormat"]), times, values) for labels, times, values in found)
    series = [one for one in series if not all(math.isnan(value) for value in one[2])]
    print(f"{panel['title']}: {len(series)} series")
    limits = ((end - seconds) / 86400, end / 86400)
    if panel["type"] == "stat":
        draw_stat(picture, panel, series, x, y, width, height)
    elif not series:
        picture.text(x + width / 2, y + height / 2 + 6, "No data", 11, FAINT, ha="center")
    elif panel["type"] == "state-timeline":
        draw_states(picture, panel, series, x, y, width, height, limits)
    else:
        draw_series(picture, panel, series, x, y, width, height, limits)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("server", help="address of a Prometheus server that scrapes mas")
    arguments.add_argument("--minutes", type=int, default=15, help="how far back to look (15)")
    arguments.add_argument("--window", default="1m", help="what rates are taken over (1m)")
    arguments.add_argument("--out", type=Path, default=ROOT / "docs" / "dashboard.png")
    arguments = arguments.parse_args()
    dashboard = json.loads((ROOT / "infra" / "grafana-dashboard.json").read_text())
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    end = int(time.time())
    picture = Picture(24 * COLUMN + GAP, HEAD + rows * ROW + GAP)
    picture.text(GAP + 4, HEAD / 2, dashboard["title"], 16, weight="bold")
    moments = [datetime.fromtimestamp(at, UTC) for at in (end - arguments.minutes * 60, end)]
    text = f"{moments[0]:%Y-%m-%d %H:%M} to {moments[1]:%H:%M} UTC"
    picture.text(picture.width - GAP - 4, HEAD / 2, text, 10, FAINT, ha="right")
    for panel in dashboard["panels"]:
        draw(picture, panel, HEAD, arguments, end)
    picture.figure.savefig(arguments.out, facecolor=PAGE)
    print(f"{arguments.out}: {picture.width} by {picture.height}")


if __name__ == "__main__":
    main()
