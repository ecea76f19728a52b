"""Checks that the dashboards and alarms are well formed and know only the metrics of docs/metrics.md, and that each check is able to fail.

Grafana's dashboard is read by the types that Grafana publishes for it, its expressions by a parser of PromQL. CloudWatch's is a text in the template.
Usage: python .ci/dashboard_check.py, with the python of a venv made from requirements-dashboards.txt.
"""

import copy
import enum
import itertools
import json
import re
import sys
import typing
from pathlib import Path

import promql_parser as promql
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).resolve().parent.parent
# What Grafana puts in before a query is sent.
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Beside a metric's own: what Prometheus adds to every series of a process.
TARGET_LABELS = {"job", "instance"}
SUFFIXES = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
NAMESPACES = {"MAS", "AWS/Lambda", "AWS/DynamoDB"}
PERCENTILE = re.compile(r"p\d\d(\.\d+)?")
STATISTICS = {"counter": re.compile("Sum"), "gauge": re.compile("Maximum"), "histogram": PERCENTILE}


class Metric(typing.NamedTuple):
    kind: str
    labels: set
    # Words that the table's last column sets in backticks: the values of labels that are known beforehand.
    values: set


def catalogue(text):
    metrics = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 6 and cells[1].startswith("`mas_"):
            words = [set(re.findall(r"`([^`]+)`", cell)) for cell in cells]
            metrics[cells[1].strip("`")] = Metric(cells[2], words[3], words[4])
    return metrics


class Template(yaml.SafeLoader):
    """Reads CloudFormation's short tags as what they stand for."""

    def tagged(self, suffix, node):
        build = {yaml.ScalarNode: self.construct_scalar, yaml.SequenceNode: self.construct_sequence, yaml.MappingNode: self.construct_mapping}[type(node)]
        value = build(node) if isinstance(node, yaml.ScalarNode) else build(node, deep=True)
        return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Template.add_multi_constructor("!", Template.tagged)


# Grafana's dashboard


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def targets(dashboard):
    return [(panel["title"], target) for panel in panels(dashboard) for target in panel["targets"]]


def lost(before, after, path):
    """What is in the one and not, or not the same, in the other."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{path}.{key}") if key in after or value is None else [f"{path}.{key} is unknown"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{path}[{index}]")
    elif before != after:
        yield f"{path} becomes {after}"


def misfits(value, kind, path):
    """Where a value is not of the type that Grafana's types declare; they are not enforced when a file is read."""
    origin = typing.get_origin(kind)
    if origin is typing.Union:
        found = [list(misfits(value, one, path)) for one in typing.get_args(kind)]
        yield from min(found, key=len)
    elif origin is typing.Literal:
        if value not in typing.get_args(kind):
            yield f"{path} is {value!r}, not one of {typing.get_args(kind)}"
    elif origin in (list, dict):
        if not isinstance(value, origin):
            yield f"{path} is {value!r}, not a {origin.__name__}"
        else:
            members = enumerate(value) if origin is list else value.items()
            for key, member in members:
                yield from misfits(member, typing.get_args(kind)[-1], f"{path}[{key}]")
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        if value not in [member.value for member in kind]:
            yield f"{path} is {value!r}, not one of {[member.value for member in kind]}"
    elif kind in (int, float, str, bool, type(None)):
        right = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
        if not right or (isinstance(value, bool) and kind is not bool):
            yield f"{path} is {value!r}, not a {kind.__name__}"
    elif hasattr(value, "to_json"):
        hints = typing.get_type_hints(type(value))
        for name, member in vars(value).items():
            if name in hints:
                yield from misfits(member, hints[name], f"{path}.{name}")
    elif isinstance(kind, type) and kind is not object and not isinstance(value, kind):
        yield f"{path} is {value!r}, not a {kind.__name__}"


def grafana_accepts_the_dashboard(metrics, dashboard, template):
    """Read into Grafana's types and written again nothing is lost, and every value is of its declared type."""
    try:
        read = Dashboard.from_json(copy.deepcopy(dashboard))
        written = json.loads(JSONEncoder().encode(read))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"it cannot be read: {error!r}"]
    return [*lost(dashboard, written, "dashboard"), *misfits(read, Dashboard, "dashboard")]


def panels_explain_themselves(metrics, dashboard, template):
    complaints = []
    for panel in panels(dashboard):
        wanted = {"title": panel.get("title"), "description": panel.get("description"), "unit": panel["fieldConfig"]["defaults"].get("unit")}
        complaints += [f"{panel.get('title') or panel['id']} has no {what}" for what, value in wanted.items() if not value]
        complaints += [f"{panel['title']} has a query without a legend" for target in panel["targets"] if not target.get("legendFormat")]
        complaints += [f"{panel['title']} reads from {panel['datasource']}"] if panel["datasource"] != SOURCE else []
        references = [target["refId"] for target in panel["targets"]]
        complaints += [f"{panel['title']} has two queries of one name"] if len(set(references)) < len(references) else []
    for identity in ("id", "title"):
        of = [panel[identity] for panel in dashboard["panels"]]
        complaints += [f"two panels have the {identity} {value}" for value in {v for v in of if of.count(v) > 1}]
    names = {variable["name"] for variable in dashboard["templating"]["list"] if variable["type"] == "datasource"}
    return complaints + ([] if names == {"datasource"} else [f"data sources to choose are {names}"])


def overlaps(boxes):
    """Boxes are (name, x, y, width, height) on a grid of 24 columns."""
    complaints = [f"{name} leaves the grid" for name, x, y, width, height in boxes if x < 0 or y < 0 or x + width > 24]
    for (a, ax, ay, aw, ah), (b, bx, by, bw, bh) in itertools.combinations(boxes, 2):
        if ax < bx + bw and bx < ax + aw and ay < by + bh and by < ay + ah:
            complaints.append(f"{a} overlaps {b}")
    return complaints


def panels_lie_side_by_side(metrics, dashboard, template):
    return overlaps([(panel["title"], *(panel["gridPos"][side] for side in "xywh")) for panel in dashboard["panels"]])


def parsed(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return promql.parse(expression)


def expressions_parse(metrics, dashboard, template):
    complaints = []
    for title, target in targets(dashboard):
        try:
            parsed(target["expr"])
        except ValueError as error:
            complaints.append(f"{title}: {error}")
    return complaints


def series(metrics):
    """The name of each series, with its metric."""
    return {name + suffix: metric for name, metric in metrics.items() for suffix in SUFFIXES[metric.kind]}


def selector_complaints(node, known, ranged):
    metric = known.get(node.name)
    if metric is None:
        yield f"{node.name} is not in the table"
        return
    labels = metric.labels | TARGET_LABELS | ({"le"} if node.name.endswith("_bucket") else set())
    for matcher in node.matchers.matchers:
        if matcher.name not in labels:
            yield f"{node.name} has no label {matcher.name}"
        elif matcher.name in metric.labels:
            for value in set(matcher.value.split("|")) - metric.values:
                yield f"{matcher.name} of {node.name} is never {value}"
    if ranged != (metric.kind != "gauge"):
        yield f"{node.name} is a {metric.kind}, {'not to be read over a range' if ranged else 'to be read by rate or increase'}"


def labels_of(node, known, complain):
    """The labels that an expression's series have; tells what is wrong on the way there."""
    if isinstance(node, promql.VectorSelector | promql.MatrixSelector):
        ranged = isinstance(node, promql.MatrixSelector)
        selector = node.vector_selector if ranged else node
        for complaint in selector_complaints(selector, known, ranged):
            complain(complaint)
        metric = known.get(selector.name)
        le = {"le"} if selector.name.endswith("_bucket") else set()
        return (metric.labels if metric else set()) | TARGET_LABELS | le
    if isinstance(node, promql.AggregateExpr):
        inner = labels_of(node.expr, known, complain)
        by = set(node.modifier.labels) if node.modifier else set()
        for label in sorted(by - inner):
            complain(f"nothing in {node.expr.prettify()} has the label {label}")
        return by
    if isinstance(node, promql.Call):
        inner = [labels_of(argument, known, complain) for argument in node.args]
        if node.func.name == "histogram_quantile":
            if "le" not in inner[1]:
                complain(f"{node.prettify()} has no le")
            return inner[1] - {"le"}
        return set() if node.func.name in ("scalar", "vector") else set().union(*inner)
    if isinstance(node, promql.BinaryExpr):
        left, right = (labels_of(side, known, complain) for side in (node.lhs, node.rhs))
        if node.modifier and node.modifier.matching:
            for label in sorted(set(node.modifier.matching.labels) - (left & right)):
                complain(f"both sides should have the label {label}")
            return left
        # A number or a scalar goes with everything; otherwise series find each other by all of their labels.
        if left and right and left != right:
            complain(f"{sorted(left)} never match {sorted(right)}")
        return left | right
    if isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        return labels_of(node.expr, known, complain)
    return set()


def expressions_know_the_table(metrics, dashboard, template):
    """Names, kinds, labels and label values are the table's, and legends name labels that are left."""
    complaints, known = [], series(metrics)
    for title, target in targets(dashboard):
        try:
            left = labels_of(parsed(target["expr"]), known, lambda complaint: complaints.append(f"{title}: {complaint}"))
        except ValueError:
            continue
        named = set(re.findall(r"{{\s*(\w+)\s*}}", target.get("legendFormat", "")))
        complaints += [f"{title}: the legend says {label}, which is not left" for label in sorted(named - left)]
        complaints += [f"{title}: the legend does not tell one {label} from another" for label in sorted(left - named)]
    return complaints


def every_metric_is_shown(metrics, dashboard, template):
    text = " ".join(target["expr"] for _, target in targets(dashboard))
    shown = {name for name, metric in metrics.items() if any(re.search(rf"\b{name}{suffix}\b", text) for suffix in SUFFIXES[metric.kind])}
    return [f"{name} is on no panel" for name in sorted(set(metrics) - shown)] + ([] if metrics else ["there is no table"])


# CloudWatch's dashboard and alarms


def bodies(template):
    """What Fn::Sub makes of the dashboard's body, for both outcomes of the conditions in it."""
    for resource in template["Resources"].values():
        if resource["Type"] != "AWS::CloudWatch::Dashboard":
            continue
        text, own = resource["Properties"]["DashboardBody"]["Fn::Sub"]
        for branch in (1, 2):
            chosen = {name: value["Fn::If"][branch] if "Fn::If" in value else value for name, value in own.items()}
            yield substituted(text, template, {name: substituted(value, template, {}) for name, value in chosen.items()})


def substituted(value, template, own):
    def replacement(match):
        name = match[1]
        if name.startswith("!"):
            return "${" + name[1:] + "}"
        if name in own:
            return own[name]
        if name in template["Parameters"]:
            return str(template["Parameters"][name]["Default"])
        return name

    return re.sub(r"\${([^}]+)}", replacement, value["Fn::Sub"] if isinstance(value, dict) else value)


def widgets(template):
    try:
        return [widget for body in bodies(template) for widget in json.loads(body)["widgets"]]
    except ValueError:
        return []


def the_body_is_json(metrics, dashboard, template):
    complaints, found = [], list(bodies(template))
    for body in found:
        try:
            json.loads(body)
        except ValueError as error:
            complaints.append(str(error))
    return complaints + ([] if found else ["there is no dashboard"])


def widgets_lie_side_by_side(metrics, dashboard, template):
    boxes = {(w["properties"]["title"], w["x"], w["y"], w["width"], w["height"]) for w in widgets(template)}
    return overlaps(sorted(boxes))


def metric_complaints(metrics, namespace, name, dimensions, statistic):
    """Dimensions as pairs; a value of None is any."""
    if namespace not in NAMESPACES:
        yield f"{name} is in the namespace {namespace}"
    if namespace != "MAS":
        return
    metric = metrics.get(name)
    if metric is None:
        yield f"{name} is not in the table"
        return
    if dimensions and set(dict(dimensions)) != metric.labels:
        yield f"{name} has {sorted(metric.labels)}, which {sorted(dict(dimensions))} will not find"
    for label, value in dimensions:
        if value is not None and value not in metric.values:
            yield f"{label} of {name} is never {value}"
    if not STATISTICS[metric.kind].fullmatch(statistic):
        yield f"{statistic} of {name} says little: it is a {metric.kind}"


SEARCH = re.compile(r"SEARCH\('{(\w+),([\w,]+)} MetricName=\"(\w+)\"', '(\w+)'\)")
SELECT = re.compile(r"SELECT (\w+)\((\w+)\) FROM SCHEMA\((.+)\) GROUP BY (.+)")


def expression_complaints(metrics, expression, label, identities):
    searched, selected = SEARCH.fullmatch(expression), SELECT.fullmatch(expression)
    if searched:
        namespace, dimensions, name, statistic = searched.groups()
        yield from metric_complaints(metrics, namespace, name, [(d, None) for d in dimensions.split(",")], statistic)
        if set(re.findall(r"PROP\('Dim\.(\w+)'\)", label)) != set(dimensions.split(",")):
            yield f"the label {label} does not tell the series of {name} apart"
    elif selected:
        statistic, name, schema, group = selected.groups()
        namespace, *dimensions = re.findall(r'"(\w+)"', schema)
        yield from metric_complaints(metrics, namespace, name, [(d, None) for d in dimensions], statistic.title())
        if group.strip('"') not in dimensions:
            yield f"{name} is grouped by {group}, which it has not"
    else:
        unknown = set(re.findall(r"\b[a-z]\w*", expression)) - identities
        if unknown or not identities:
            yield f"{expression} uses {sorted(unknown)}"


def widgets_know_the_table(metrics, dashboard, template):
    complaints = []
    for widget in widgets(template):
        properties = widget["properties"]
        said, rows = [], properties.get("metrics", [])
        options = [row[-1] if isinstance(row[-1], dict) else {} for row in rows]
        identities = {option["id"] for row, option in zip(rows, options) if "id" in option and "expression" not in option}
        for row, option in zip(rows, options):
            if "expression" in option:
                said += expression_complaints(metrics, option["expression"], option.get("label", ""), identities)
            else:
                namespace, name, *pairs = [part for part in row if not isinstance(part, dict)]
                said += metric_complaints(metrics, namespace, name, list(zip(pairs[::2], pairs[1::2])), option.get("stat", properties["stat"]))
        complaints += [f"{properties['title']}: {complaint}" for complaint in said]
    return sorted(set(complaints))


def alarms(template):
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == "AWS::CloudWatch::Alarm"}


def alarms_know_the_table(metrics, dashboard, template):
    complaints = []
    for name, alarm in alarms(template).items():
        stats = [{**m["MetricStat"]["Metric"], "Statistic": m["MetricStat"]["Stat"]} for m in alarm.get("Metrics", []) if "MetricStat" in m] or [alarm]
        said = []
        for stat in stats:
            pairs = [(d["Name"], d["Value"]) for d in stat.get("Dimensions", [])]
            said += metric_complaints(metrics, stat["Namespace"], stat["MetricName"], pairs, stat.get("Statistic") or stat["ExtendedStatistic"])
        identities = {m["Id"] for m in alarm.get("Metrics", []) if "MetricStat" in m}
        for metric in alarm.get("Metrics", []):
            if "Expression" in metric:
                said += expression_complaints(metrics, metric["Expression"], "", identities)
        if alarm.get("TreatMissingData") != "notBreaching":
            said.append("silence alarms")
        complaints += [f"{name}: {complaint}" for complaint in said]
    return complaints


def every_alarm_is_shown(metrics, dashboard, template):
    shown = {alarm for widget in widgets(template) for alarm in widget["properties"].get("alarms", [])}
    return [f"{name} is not on CloudWatch's dashboard" for name in alarms(template) if f"{name}.Arn" not in shown]


CHECKS = [
    grafana_accepts_the_dashboard,
    panels_explain_themselves,
    panels_lie_side_by_side,
    expressions_parse,
    expressions_know_the_table,
    every_metric_is_shown,
    the_body_is_json,
    widgets_lie_side_by_side,
    widgets_know_the_table,
    alarms_know_the_table,
    every_alarm_is_shown,
]

# What is spoilt: where, what is planted there (GONE removes), the check that must complain, and a word of its complaint,
# so that a complaint about something else does not count. A panel is found by its title; in the body a text is replaced.
GONE = object()


def panel(title, *path):
    return lambda inputs: (next(p for p in inputs["dashboard"]["panels"] if p["title"] == title), path)


def query(title):
    return panel(title, "targets", 0, "expr")


def dashboard(*path):
    return lambda inputs: (inputs["dashboard"], path)


def template(*path):
    return lambda inputs: (inputs["template"], path)


def table(inputs):
    return inputs, ("metrics",)


BODY = template("Resources", "Dashboard", "Properties", "DashboardBody", "Fn::Sub", 0)
SHARE = ("Resources", "FailedTurnsAlarm", "Properties", "Metrics")
QUANTILE = "histogram_quantile(0.5, sum by ({}) (rate({}[5m])))"
DEFECTS = [
    ("an option that Grafana does not know", panel("Turns", "options", "colourMode"), "value", grafana_accepts_the_dashboard, "colourMode is unknown"),
    ("a mode that Grafana does not know", panel("Turns", "options", "colorMode"), "text", grafana_accepts_the_dashboard, "color_mode is 'text'"),
    ("a number in words", panel("Turns in flight", "fieldConfig", "defaults", "min"), "0", grafana_accepts_the_dashboard, "min_val is '0'"),
    ("a stacking that Grafana does not know", panel("Turns by outcome", "fieldConfig", "defaults", "custom", "stacking", "mode"), "on", grafana_accepts_the_dashboard, "'on'"),
    ("a query that is no query", panel("Turns", "targets", 0, "expression"), "up", grafana_accepts_the_dashboard, "expression is unknown"),
    ("a panel without a place", panel("Turns", "gridPos"), [0, 0, 4, 4], grafana_accepts_the_dashboard, "gridPos"),
    ("a panel without a unit", panel("Whole turn", "fieldConfig", "defaults", "unit"), GONE, panels_explain_themselves, "no unit"),
    ("a panel without a description", panel("Whole turn", "description"), GONE, panels_explain_themselves, "no description"),
    ("a fixed data source", panel("Whole turn", "datasource", "uid"), "main", panels_explain_themselves, "reads from"),
    ("a data source that cannot be chosen", dashboard("templating", "list"), [], panels_explain_themselves, "set()"),
    ("two panels of one id", panel("Whole turn", "id"), 2, panels_explain_themselves, "the id 2"),
    ("a panel on another", panel("Whole turn", "gridPos", "x"), 15, panels_lie_side_by_side, "overlaps"),
    ("a panel beyond the edge", panel("Whole turn", "gridPos", "w"), 9, panels_lie_side_by_side, "leaves"),
    ("a parenthesis left open", query("Turns in flight"), "sum(mas_turns_in_flight", expressions_parse, "Turns in flight"),
    ("a function that PromQL has not", query("Turns in flight"), "total(mas_turns_in_flight)", expressions_parse, "total"),
    ("a rate without a range", query("Turns"), "sum(rate(mas_turns_total))", expressions_parse, "matrix"),
    ("a misspelt metric", query("Turns"), "sum(increase(mas_turn_total[1h]))", expressions_know_the_table, "mas_turn_total is not"),
    ("a histogram without its suffix", query("Turns"), "sum(increase(mas_turn_seconds[1h]))", expressions_know_the_table, "mas_turn_seconds is not"),
    ("buckets of a counter", query("Whole turn"), QUANTILE.format("le", "mas_turns_total_bucket"), expressions_know_the_table, "mas_turns_total_bucket is not"),
    ("a label that the metric has not", query("Turns"), 'sum(increase(mas_turns_total{agent="x"}[1h]))', expressions_know_the_table, "no label agent"),
    ("a value that the label never has", query("Turns"), 'sum(increase(mas_turns_total{outcome="success"}[1h]))', expressions_know_the_table, "never success"),
    ("a grouping by a label that is not there", query("Turns by outcome"), "sum by (agent) (rate(mas_turns_total[5m]))", expressions_know_the_table, "the label agent"),
    ("a quantile without its buckets", query("Whole turn"), QUANTILE.format("", "mas_turn_seconds_bucket"), expressions_know_the_table, "no le"),
    ("a counter read as it stands", query("Turns"), "sum(mas_turns_total)", expressions_know_the_table, "rate or increase"),
    ("the rate of a gauge", query("Turns in flight"), "sum(rate(mas_turns_in_flight[5m]))", expressions_know_the_table, "not to be read"),
    ("sides that never match", query("Turns"), "sum by (agent) (rate(mas_agent_calls_total[5m])) / sum by (outcome) (rate(mas_turns_total[5m]))", expressions_know_the_table, "never match"),
    ("a legend of a label that is gone", panel("Turns by outcome", "targets", 0, "legendFormat"), "{{agent}}", expressions_know_the_table, "says agent"),
    ("lines of one name", panel("Turns by outcome", "targets", 0, "legendFormat"), "turns", expressions_know_the_table, "one outcome"),
    ("a metric that no panel shows", query("Turns in flight"), "vector(1)", every_metric_is_shown, "mas_turns_in_flight"),
    ("no table", table, {}, every_metric_is_shown, "no table"),
    ("a comma too many", BODY, ("\n]}", ",\n]}"), the_body_is_json, "Expecting"),
    ("a widget on another", BODY, ('"x": 8, "y": 3', '"x": 4, "y": 3'), widgets_lie_side_by_side, "overlaps"),
    ("a misspelt metric", BODY, ('"mas_first_byte_seconds"', '"mas_first_bytes"'), widgets_know_the_table, "mas_first_bytes is not"),
    ("an unknown namespace", BODY, ('"AWS/DynamoDB"', '"AWS/Dynamo"'), widgets_know_the_table, "AWS/Dynamo"),
    ("a search for half of the labels", BODY, ("{MAS,agent,outcome}", "{MAS,agent}"), widgets_know_the_table, "will not find"),
    ("a search for an unknown metric", BODY, ("mas_cache_lookups_total", "mas_cache_total"), widgets_know_the_table, "mas_cache_total is not"),
    ("a query for half of the labels", BODY, ('\\"tenant\\", \\"step\\", ', '\\"tenant\\", '), widgets_know_the_table, "will not find"),
    ("a query grouped by what is not there", BODY, ('GROUP BY \\"source\\"', 'GROUP BY \\"rung\\"'), widgets_know_the_table, "grouped by"),
    ("a value that the label never has", BODY, ('"outcome", "failed"', '"outcome", "error"'), widgets_know_the_table, "never error"),
    ("the sum of seconds", BODY, ("'p95'", "'Sum'"), widgets_know_the_table, "says little"),
    ("a formula of something else", BODY, ("FILL(failed, 0)", "FILL(wrong, 0)"), widgets_know_the_table, "['wrong']"),
    ("an alarm on a misspelt metric", template(*SHARE, 1, "MetricStat", "Metric", "MetricName"), "mas_turn_total", alarms_know_the_table, "mas_turn_total is not"),
    ("an alarm on another label", template(*SHARE, 1, "MetricStat", "Metric", "Dimensions", 0, "Name"), "result", alarms_know_the_table, "will not find"),
    ("an alarm on a value that never is", template(*SHARE, 1, "MetricStat", "Metric", "Dimensions", 0, "Value"), "error", alarms_know_the_table, "never error"),
    ("an alarm on a mean of counts", template(*SHARE, 2, "MetricStat", "Stat"), "Average", alarms_know_the_table, "says little"),
    ("an alarm's formula of something else", template(*SHARE, 0, "Expression"), "100 * failed / calls", alarms_know_the_table, "['calls']"),
    ("an alarm at silence", template(*SHARE[:-1], "TreatMissingData"), "breaching", alarms_know_the_table, "silence"),
    ("an alarm that is not shown", BODY, ('"${WrongHitsAlarm.Arn}", ', ""), every_alarm_is_shown, "WrongHitsAlarm"),
]


def spoilt(inputs, where, value):
    inputs = copy.deepcopy(inputs)
    place, path = where(inputs)
    for step in path[:-1]:
        place = place[step]
    if value is GONE:
        del place[path[-1]]
    elif isinstance(value, tuple):
        before = place[path[-1]]
        place[path[-1]] = before.replace(*value, 1)
        assert place[path[-1]] != before, f"{value[0]} is not there to be spoilt"
    else:
        place[path[-1]] = value
    return inputs


def title(check):
    return check.__name__.replace("_", " ")


def main():
    register_default_plugins()
    inputs = {
        "metrics": catalogue((ROOT / "docs" / "metrics.md").read_text()),
        "dashboard": json.loads((ROOT / "infra" / "grafana-dashboard.json").read_text()),
        "template": yaml.load((ROOT / "infra" / "template.yaml").read_text(), Template),
    }
    results = []

    def report(good, line, complaints=()):
        results.append(good)
        print(f"{'ok  ' if good else 'FAIL'}  {line}")
        for complaint in complaints:
            print(f"      {complaint}")

    for check in CHECKS:
        complaints = check(**inputs)
        report(not complaints, title(check), complaints)

    for name, where, value, check, word in DEFECTS:
        complaints = check(**spoilt(inputs, where, value))
        caught = any(word in complaint for complaint in complaints)
        report(caught, f"caught: {name} ({title(check)})", [] if caught else complaints or ["nothing was said"])

    unproven = [title(check) for check in CHECKS if check not in {defect[3] for defect in DEFECTS}]
    report(not unproven, "every check has been seen to fail", unproven)

    print(f"{sum(results)} passed, {len(results) - sum(results)} failed; {len(inputs['metrics'])} metrics, {len(targets(inputs['dashboard']))} expressions")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
