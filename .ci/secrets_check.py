"""Looks for secrets in every tracked file, after seeing that planted ones would be found.

The detectors are those of detect-secrets and the two below. What they find must be in secrets-allowed.txt, and what is there must be found.
Usage: python .ci/secrets_check.py, with the python of a venv made from requirements-secrets.txt.
"""

import base64
import hashlib
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).resolve().parent.parent

# Looked at by a person: file, SHA-1 of what was found there, why it may stand there. There is no other way around a find.
ALLOWED = Path(__file__).with_name("secrets-allowed.txt")
# What is no secret by its form. Left out: skipping lines with a comment that allows them or with a call in them, and asking the issuer.
FILTERS = [
    "is_likely_id_string", "is_lock_file", "is_not_alphanumeric_string", "is_potential_uuid", "is_prefixed_with_dollar_sign",
    "is_sequential_string", "is_templated_secret",
]  # fmt: skip


class KnownFormDetector(RegexBasedDetector):
    """Keys whose form gives them away: ours for states (`kid:base64`), and those of model providers."""

    secret_type = "Key of a known form"
    denylist = (
        re.compile(r"\b[\w-]{1,32}:([A-Za-z0-9+/]{42,}={0,2})(?![\w+/])"),
        re.compile(r"\b(sk-(?:[a-z0-9]+-)*\w{20,})"),
    )


class UnquotedDetector(RegexBasedDetector):
    """What stands behind the name of a secret without quotes of its own, as in env files, headers and commands."""

    secret_type = "Unquoted secret"
    denylist = (re.compile(r"(?i)(?:key|secret|token|password|bearer)\"?[:= ] ?\"?([\w+/.-]{20,}={0,2})(?![\w(:])"),)

    def analyze_string(self, string):
        """Random text alone: names and words hardly have digits and capitals among their letters."""
        for found in super().analyze_string(string):
            if re.search(r"\d", found) and re.search(r"[a-z]", found) and entropy(found) > 3.4:
                yield found


def entropy(text):
    """Bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def settings():
    """Every detector there is, ours among them."""
    kinds = get_mapping_from_secret_type_to_class()
    kinds.update({kind.secret_type: kind for kind in (KnownFormDetector, UnquotedDetector)})
    return transient_settings({
        "plugins_used": [{"name": kind.__name__} for kind in kinds.values()],
        "filters_used": [{"path": f"detect_secrets.filters.heuristic.{name}"} for name in FILTERS],
    })


def found_in(root, files):
    """File, hash, line and kind of everything that looks like a secret."""
    finds = SecretsCollection(str(root))
    for file in files:
        finds.scan_file(file)
    return sorted({(file, find.secret_hash, find.line_number, find.type) for file, find in finds})


def not_noticed():
    """The planted secrets that would not be found. They are put together here, so that this file has none."""

    def key(name, length):
        return base64.b64encode(hashlib.sha512(name.encode()).digest()).decode()[:length].replace("/", "x").replace("+", "y")

    def web(part):
        return base64.urlsafe_b64encode(part).decode().rstrip("=")

    secrets = {
        "a model key": "sk-proj-" + key("model", 48),
        "another provider's": "sk-" + "ant-api03-" + key("other", 60),
        "a cloud key's id": "AK" + "IA" + re.sub(r"[^A-Z0-9]", "Q", key("id", 16).upper()),
        "a cloud key": key("cloud", 40),
        "a state key": "k7:" + base64.b64encode(hashlib.sha256(b"state").digest()).decode(),
        "a hexadecimal key": hashlib.sha256(b"hex").hexdigest()[:32],
        "a token of a person": ".".join([web(b'{"alg":"RS256","typ":"JWT"}'), web(b'{"sub":"somebody","exp":1893456000}'), key("mac", 43)]),
    }
    lines = {
        "code.rs": 'const API_KEY: &str = "{}";',
        "code.py": 'headers = {{"Api-Key": "{}"}}',
        "local.env": "OPENAI_API_KEY={}",
        "agents.yaml": "    key: {}",
        "notes.md": "curl -H 'Api-Key: {}' http://localhost",
        "call.sh": "curl -H \"Authorization: Bearer {}\"",
        "config.json": '{{"secret": "{}"}}',
    }
    with tempfile.TemporaryDirectory() as folder:
        planted = []
        for file, line in lines.items():
            for name, secret in secrets.items():
                path = f"{len(planted)}-{file}"
                (Path(folder) / path).write_text(line.format(secret) + "\n")
                planted.append((path, f"{name} in {file}"))
        pem = "-----BEGIN " + "PRIVATE KEY-----\n"
        (Path(folder) / "key.pem").write_text(pem)
        planted.append(("key.pem", "a private key"))
        finds = {file for file, *_ in found_in(folder, [path for path, _ in planted])}
    return [name for path, name in planted if path not in finds]


def main():
    """Prints what is wrong; the exit status says whether anything is."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [file for file in tracked if file and (ROOT / file).is_file()]
    with settings():
        wrong = [f"{name} would not be noticed" for name in not_noticed()]
        finds = found_in(ROOT, files)
    entries = [line.split(maxsplit=2) for line in ALLOWED.read_text().splitlines() if not line.startswith("#")]
    allowed = {(file, digest) for file, digest, _why in entries}
    for file, digest, line, kind in finds:
        if (file, digest) not in allowed:
            wrong.append(f"{file}:{line}: {kind} ({digest})")
    seen = {(file, digest) for file, digest, *_ in finds}
    wrong += [f"{file}: {digest} is allowed and no longer there" for file, digest in sorted(allowed - seen)]
    print("\n".join(wrong) or f"{len(files)} files hold no secret; {len(allowed)} finds are known")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
