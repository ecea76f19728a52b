"""Checks what infra/template.yaml becomes once SAM has transformed it, and that each check is able to fail.

cfn-lint does not look inside SAM resources, so the template is transformed here first: offline, without credentials.
Usage: python .ci/template_check.py [template], with the python of a venv made from requirements-lint.txt.
"""

import copy
import json
import logging
import os
import sys
from pathlib import Path

# The transform asks for a region's partition; any region gives the same resources.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from cfnlint.api import ManualArgs, lint
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

# The transform warns on every call that it has not sent its own metrics anywhere.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

TEMPLATE = Path(__file__).resolve().parent.parent / "infra" / "template.yaml"
URL_ACTIONS = {
    "lambda:InvokeFunctionUrl": ("FunctionUrlAuthType", "NONE"),
    "lambda:InvokeFunction": ("InvokedViaFunctionUrl", True),
}
AUDIT_PATTERN = "AUDIT#*"
CHANGES = {"dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"}
WILDCARDS = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
TABLE_ACTIONS = {
    "ChatRole": {f"dynamodb:{a}" for a in ("GetItem", "Query", "PutItem", "UpdateItem", "ConditionCheckItem")},
    "HealthRole": {f"dynamodb:{a}" for a in ("GetItem", "Query")},
    "DiscoverRole": {f"dynamodb:{a}" for a in ("GetItem", "Query", "PutItem")},
    "ApiRole": {f"dynamodb:{a}" for a in ("GetItem", "BatchGetItem", "Query", "PutItem", "BatchWriteItem")},
}
ALARMS = {
    ("ChatFunction", "Errors"),
    ("ChatFunction", "Url5xxCount"),
    ("ChatFunction", "Throttles"),
    ("ChatFunction", "Duration"),
    ("HealthFunction", "Errors"),
    ("ApiFunction", "Errors"),
    ("DiscoverFunction", "Errors"),
    ("MAS", "mas_capabilities_dropped_total"),
    ("MAS", "mas_experiment_arms_stopped_total"),
    ("Table", "ReadThrottleEvents"),
    ("Table", "WriteThrottleEvents"),
    ("Table", "SystemErrors"),
    ("MAS", "mas_default_agent_total"),
    ("MAS", "mas_turns_total"),
    ("MAS", "mas_rung_agreement_total"),
    ("MAS", "mas_first_token_seconds"),
    ("MAS", "mas_cost_dollars_total"),
}


class NoManagedPolicies:
    """Our roles are written out, so SAM never needs AWS's list of policies."""

    def load(self):
        return {}


def transformed(template):
    """The CloudFormation that SAM makes of the template; the code's place is a stand-in, as after `sam package`."""
    template = copy.deepcopy(template)
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key.zip"
    for resource in template["Resources"].values():
        resource.pop("Metadata", None)
    return transform(template, {}, NoManagedPolicies())


def of_type(stack, kind):
    return {name: r.get("Properties", {}) for name, r in stack["Resources"].items() if r["Type"] == f"AWS::{kind}"}


def as_list(value):
    return value if isinstance(value, list) else [value]


def ref(value):
    """The resource that a Ref or GetAtt points to."""
    if isinstance(value, dict):
        return value.get("Ref") or as_list(value.get("Fn::GetAtt", [None]))[0]
    return None


# Each check gives the list of its complaints.


def lints(stack):
    # W3011 is about the functions' UpdateReplacePolicy; the template says why it stands alone.
    matches = lint(json.dumps(stack), config=ManualArgs(regions=["us-east-1", "eu-central-1"], ignore_checks=["W3011"]))
    return [f"{m.rule.id} {'/'.join(map(str, m.path or []))}: {m.message}" for m in matches]


def functions_run_on_arm64(stack):
    functions = of_type(stack, "Lambda::Function")
    wrong = [f"{n} runs on {f.get('Architectures')}" for n, f in functions.items() if f.get("Architectures") != ["arm64"]]
    missing = {"ChatFunction", "HealthFunction", "ApiFunction", "DiscoverFunction"} - set(functions)
    return wrong + [f"there is no {name}" for name in sorted(missing)]


def urls_stream(stack):
    urls = of_type(stack, "Lambda::Url")
    modes = [f"{n} has InvokeMode {u.get('InvokeMode')}" for n, u in urls.items() if u.get("InvokeMode") != "RESPONSE_STREAM"]
    return modes + ([] if len(urls) == 3 else [f"{len(urls)} URLs instead of 3"])


def urls_are_public_literally(stack):
    return [f"{n} has AuthType {u.get('AuthType')}" for n, u in of_type(stack, "Lambda::Url").items() if u.get("AuthType") != "NONE"]


def urls_have_both_permissions(stack):
    """Since October 2025 a public URL needs two; without either one every call is answered with 403."""
    complaints = []
    for name, url in of_type(stack, "Lambda::Url").items():
        of_url = [p for p in of_type(stack, "Lambda::Permission").values() if p["FunctionName"] == url["TargetFunctionArn"]]
        for action, (condition, value) in URL_ACTIONS.items():
            count = sum(p["Action"] == action and p["Principal"] == "*" and p.get(condition) == value for p in of_url)
            if count != 1:
                complaints.append(f"{name} has {count} permissions for {action} with {condition}")
    return complaints


def urls_point_to_the_live_alias(stack):
    live = {name for name, alias in of_type(stack, "Lambda::Alias").items() if alias["Name"] == "live"}
    targets = {name: ref(url["TargetFunctionArn"]) for name, url in of_type(stack, "Lambda::Url").items()}
    return [f"{name} points to {target}" for name, target in targets.items() if target not in live]


def a_new_release_publishes_versions(stack):
    """SAM overlooks changed parameters (its issue 3820); Release in both descriptions makes up for that."""
    complaints = []
    versions = {ref(v["FunctionName"]): v for v in of_type(stack, "Lambda::Version").values()}
    for name, function in of_type(stack, "Lambda::Function").items():
        if versions.get(name, {}).get("Description") != {"Ref": "Release"}:
            complaints.append(f"the version of {name} does not change with Release")
        if "${Release}" not in json.dumps(function.get("Description")):
            complaints.append(f"{name} itself does not change with Release")
    for name, resource in stack["Resources"].items():
        if resource["Type"] == "AWS::Lambda::Version" and resource.get("UpdateReplacePolicy") != "Retain":
            complaints.append(f"{name} is deleted when a release replaces it, under the turns that still run on it")
    return complaints


def functions_share_their_settings(stack):
    settings = {n: set(f.get("Environment", {}).get("Variables", {})) for n, f in of_type(stack, "Lambda::Function").items()}
    every = set().union(*settings.values())
    return [f"{name} lacks {', '.join(sorted(every - own))}" for name, own in settings.items() if every - own]


def keys_are_hidden(stack):
    """A key comes from a parameter that is not echoed, or from a secret."""
    complaints = []
    for name, function in of_type(stack, "Lambda::Function").items():
        for variable, value in function["Environment"]["Variables"].items():
            if variable.endswith(("_KEY", "_KEYS", "_SECRETS")):
                hidden = stack["Parameters"].get(ref(value), {}).get("NoEcho") is True
                if not hidden and "{{resolve:secretsmanager:" not in json.dumps(value):
                    complaints.append(f"{variable} of {name} is readable in the stack")
    return complaints


def granted(statement):
    """A statement that depends on a condition, as if it held."""
    return statement["Fn::If"][1] if "Fn::If" in statement else statement


def statements(role):
    return [granted(s) for p in role.get("Policies", []) for s in p["PolicyDocument"]["Statement"]]


def roles_are_narrow(stack):
    complaints = []
    roles = of_type(stack, "IAM::Role")
    for name, function in of_type(stack, "Lambda::Function").items():
        if ref(function["Role"]) not in TABLE_ACTIONS:
            complaints.append(f"{name} has a role that SAM made")
    for name, role in roles.items():
        if role.get("ManagedPolicyArns"):
            complaints.append(f"{name} has managed policies, which are not ours to narrow")
        for statement in statements(role):
            if statement["Effect"] == "Deny":
                continue
            actions, resources = set(as_list(statement["Action"])), as_list(statement["Resource"])
            if any(isinstance(r, str) and "*" in r for r in resources) and not actions <= WILDCARDS:
                complaints.append(f"{name} allows {', '.join(sorted(actions))} on {resources}")
            if any("*" in action for action in actions):
                complaints.append(f"{name} allows {', '.join(sorted(actions))}")
            beyond = {a for a in actions if a.startswith("dynamodb:")} - TABLE_ACTIONS.get(name, set())
            if beyond:
                complaints.append(f"{name} may {', '.join(sorted(beyond))}")
    return complaints


def the_audit_log_is_only_appended_to(stack):
    """Whoever may write to the table may put lines of the audit log, and neither change nor delete them."""
    complaints = []
    for name, role in of_type(stack, "IAM::Role").items():
        allowed = {a for s in statements(role) if s["Effect"] == "Allow" for a in as_list(s["Action"])}
        denied = {
            action
            for s in statements(role)
            if s["Effect"] == "Deny" and {"dynamodb:LeadingKeys": [AUDIT_PATTERN]} in s.get("Condition", {}).values()
            for action in as_list(s["Action"])
        }
        if allowed & (CHANGES | {"dynamodb:PutItem"}) and CHANGES - denied:
            complaints.append(f"{name} is not kept from {', '.join(sorted(CHANGES - denied))} of audit lines")
    return complaints


def logs_expire(stack):
    groups = of_type(stack, "Logs::LogGroup")
    complaints = [f"{name} keeps its lines for ever" for name, group in groups.items() if not group.get("RetentionInDays")]
    for name, function in of_type(stack, "Lambda::Function").items():
        logging = function.get("LoggingConfig", {})
        if ref(logging.get("LogGroup")) not in groups or logging.get("LogFormat") != "JSON":
            complaints.append(f"{name} logs to {logging}")
    return complaints


def the_table_is_safe(stack):
    table = of_type(stack, "DynamoDB::Table")["Table"]
    expected = {
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
        "SSESpecification": {"SSEEnabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True, "RecoveryPeriodInDays": 7},
        "DeletionProtectionEnabled": {"Fn::If": ["IsProd", True, False]},
    }
    complaints = [f"{key} is {table.get(key)}" for key, value in expected.items() if table.get(key) != value]
    if stack["Resources"]["Table"].get("DeletionPolicy") != "RetainExceptOnCreate":
        complaints.append("the table goes with the stack")
    return complaints


def alarms_exist(stack):
    """On resources, and on the program's own metrics, which are of no resource."""
    found = set()
    for alarm in of_type(stack, "CloudWatch::Alarm").values():
        metrics = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m] or [alarm]
        found |= {(ref(d["Value"]) or m["Namespace"], m["MetricName"]) for m in metrics for d in m.get("Dimensions", [{"Value": None}])}
    return [f"no alarm on {metric} of {resource}" for resource, metric in sorted(ALARMS - found)]


CHECKS = [
    lints,
    functions_run_on_arm64,
    urls_stream,
    urls_are_public_literally,
    urls_have_both_permissions,
    urls_point_to_the_live_alias,
    a_new_release_publishes_versions,
    functions_share_their_settings,
    keys_are_hidden,
    roles_are_narrow,
    the_audit_log_is_only_appended_to,
    logs_expire,
    the_table_is_safe,
    alarms_exist,
]

# What is spoilt: a path in the source, the value planted there (GONE removes), the check that must complain, and a
# word of its complaint, so that a complaint about something else does not count.
GONE = object()
CHAT = ("Resources", "ChatFunction", "Properties")
HEALTH = ("Resources", "HealthFunction", "Properties")
STATEMENTS = ("Resources", "ChatRole", "Properties", "Policies", 0, "PolicyDocument", "Statement")
TABLE = ("Resources", "Table", "Properties")
HEALTH_ALARM = ("Resources", "HealthErrorsAlarm", "Properties", "Dimensions", 0, "Value")
VARIABLES = ("Globals", "Function", "Environment", "Variables")
DEFECTS = [
    ("an unknown InvokeMode", (*CHAT, "FunctionUrlConfig", "InvokeMode"), "STREAMING", lints, "E3030"),
    ("an unknown runtime", ("Globals", "Function", "Runtime"), "provided.al2099", lints, "E3030"),
    ("a timeout beyond Lambda's", (*CHAT, "Timeout"), 901, lints, "E3717"),
    ("a reference to nothing", (*VARIABLES, "MAS_TABLE"), {"Ref": "Tabel"}, lints, "E1020"),
    ("an unknown IAM action", (*STATEMENTS, 0, "Action"), ["dynamodb:GetItems"], lints, "W3037"),
    ("SnapStart on a runtime without it", (*CHAT, "SnapStart"), {"ApplyOn": "PublishedVersions"}, lints, "E2530"),
    ("a parameter as AuthType", (*CHAT, "FunctionUrlConfig", "AuthType"), {"Ref": "Auth"}, urls_have_both_permissions, "has 0"),
    ("a parameter as AuthType", (*CHAT, "FunctionUrlConfig", "AuthType"), {"Ref": "Auth"}, urls_are_public_literally, "Ref"),
    ("a URL that asks for signatures", (*HEALTH, "FunctionUrlConfig", "AuthType"), "AWS_IAM", urls_have_both_permissions, "has 0"),
    ("a URL that buffers", (*CHAT, "FunctionUrlConfig", "InvokeMode"), "BUFFERED", urls_stream, "BUFFERED"),
    ("a URL left out", (*HEALTH, "FunctionUrlConfig"), GONE, urls_stream, "2 URLs"),
    ("another processor", ("Globals", "Function", "Architectures"), ["x86_64"], functions_run_on_arm64, "x86_64"),
    ("another alias", (*CHAT, "AutoPublishAlias"), "canary", urls_point_to_the_live_alias, "Aliascanary"),
    ("a version that ignores Release", (*CHAT, "VersionDescription"), GONE, a_new_release_publishes_versions, "the version of"),
    ("a function that ignores Release", (*CHAT, "Description"), "Chat", a_new_release_publishes_versions, "itself"),
    ("a version that dies when replaced", (*CHAT[:2], "UpdateReplacePolicy"), "Delete", a_new_release_publishes_versions, "deleted"),
    ("a setting for one function only", (*CHAT, "Environment"), {"Variables": {"MAS_NEW": "1"}}, functions_share_their_settings, "MAS_NEW"),
    ("a key that is echoed", ("Parameters", "GpaApiKey", "NoEcho"), GONE, keys_are_hidden, "GPA_API_KEY"),
    ("state keys in the open", (*VARIABLES, "MAS_STATE_KEYS"), "k1:c2VjcmV0", keys_are_hidden, "MAS_STATE_KEYS"),
    ("every table of the account", (*STATEMENTS, 0, "Resource"), "*", roles_are_narrow, "dynamodb:GetItem"),
    ("the right to scan", (*STATEMENTS, 0, "Action"), ["dynamodb:Scan"], roles_are_narrow, "dynamodb:Scan"),
    ("every action", (*STATEMENTS, 2, "Action"), "logs:*", roles_are_narrow, "logs:*"),
    ("an audit log that can be changed", (*STATEMENTS, 1, "Action"), ["dynamodb:DeleteItem"], the_audit_log_is_only_appended_to, "UpdateItem"),
    ("another name of the audit log", (*STATEMENTS, 1, "Condition"), {"Null": {"dynamodb:LeadingKeys": "false"}}, the_audit_log_is_only_appended_to, "ChatRole"),
    ("a role made by SAM", (*HEALTH, "Role"), GONE, roles_are_narrow, "HealthFunction"),
    ("logs for ever", ("Resources", "ChatLogs", "Properties", "RetentionInDays"), GONE, logs_expire, "ChatLogs"),
    ("a log group made by Lambda", (*CHAT, "LoggingConfig", "LogGroup"), GONE, logs_expire, "ChatFunction"),
    ("no expiry of items", (*TABLE, "TimeToLiveSpecification"), GONE, the_table_is_safe, "TimeToLive"),
    ("another expiry attribute", (*TABLE, "TimeToLiveSpecification", "AttributeName"), "ttl", the_table_is_safe, "ttl"),
    ("a table that goes with the stack", ("Resources", "Table", "DeletionPolicy"), "Delete", the_table_is_safe, "goes"),
    ("an alarm left out", ("Resources", "ChatDurationAlarm"), GONE, alarms_exist, "Duration"),
    ("an alarm on a number of ours left out", ("Resources", "FirstTokenTimeAlarm"), GONE, alarms_exist, "mas_first_token_seconds"),
    ("an alarm on another function", HEALTH_ALARM, {"Ref": "ChatFunction"}, alarms_exist, "HealthFunction"),
]


def spoilt(template, path, value):
    template = copy.deepcopy(template)
    place = template
    for step in path[:-1]:
        place = place[step]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return template


def title(check):
    return check.__name__.replace("_", " ")


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else TEMPLATE
    # cfn-lint reads the command line itself when it is used as a library.
    sys.argv = sys.argv[:1]
    template = yaml_parse(path.read_text())
    results = []

    def report(good, line, complaints=()):
        results.append(good)
        print(f"{'ok  ' if good else 'FAIL'}  {line}")
        for complaint in complaints:
            print(f"      {complaint}")

    try:
        stack = transformed(template)
    except InvalidDocumentException as error:
        report(False, "SAM accepts the template", [cause.message for cause in error.causes])
        print("0 passed, 1 failed")
        return 1
    report(True, "SAM accepts the template")
    for check in CHECKS:
        complaints = check(stack)
        report(not complaints, title(check), complaints)

    for name, where, value, check, word in DEFECTS:
        complaints = check(transformed(spoilt(template, where, value)))
        caught = any(word in complaint for complaint in complaints)
        report(caught, f"caught: {name} ({word if check is lints else title(check)})", [] if caught else complaints or ["nothing was said"])

    unproven = [title(check) for check in CHECKS if check not in {defect[3] for defect in DEFECTS}]
    report(not unproven, "every check has been seen to fail", unproven)

    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
