"""Secrets taken out of what is written or shown."""

import os
import re
from typing import Any

HIDDEN = "***"
"""What stands where a secret was."""

_SHORTEST = 8
"""Characters of an environment variable's value that are taken for a secret."""

_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|(?:ACCESS|SECRET)_KEY(?:_ID)?)$",
    re.IGNORECASE,
)
"""HF_TOKEN, WANDB_API_KEY and their like."""

_SECRET_KEYS = frozenset(
    ("token", "hub_token", "push_to_hub_token", "use_auth_token", "auth_token", "access_token",
     "api_key", "apikey", "password", "passwd", "secret", "client_secret", "authorization")
)  # fmt: skip
"""Settings that are left out. `eos_token` and the like are none."""

_PATTERNS = (
    # Tokens that say what they are: of the Hugging Face hub, OpenAI and its like, GitHub, AWS.
    # So long that no folder's name is taken for one.
    (re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}"), HIDDEN),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{32,}"), HIDDEN),
    (re.compile(r"\b(?:gh[opsu]|github_pat)_[A-Za-z0-9_]{30,}"), HIDDEN),
    (re.compile(r"\bAKIA[A-Z0-9]{16}\b"), HIDDEN),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{16,}"), rf"\1{HIDDEN}"),
    # https://user:password@host, also as a path writes it, and https://host/file?token=…
    (re.compile(r"(:/{1,2})[^/\s:@]*:[^/\s@]+(?=@)"), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"(?i)([?&;](?:[\w-]*(?:token|secret|passw(?:or)?d|signature|api[_-]?key)|sig|key)=)"
            r"[^&;\s'\"]+"
        ),
        rf"\1{HIDDEN}",
    ),
)


def redacted(text: str) -> str:
    """Text in which what looks like a token or a password, and what an environment variable for one
    holds, is hidden."""
    for value in _environment():
        text = text.replace(value, HIDDEN)
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    return text


def without_secrets(value: Any) -> Any:
    """A plain value of dicts, lists and texts: settings that hold a secret are left out, and all of
    its texts redacted."""
    if isinstance(value, dict):
        return {
            key: without_secrets(inner)
            for key, inner in value.items()
            if str(key).lower() not in _SECRET_KEYS
        }
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return redacted(value) if isinstance(value, str) else value


def _environment() -> list[str]:
    """The longest first, so that none leaves a part of another."""
    found = {
        value
        for name, value in os.environ.items()
        if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST
    }
    return sorted(found, key=len, reverse=True)
