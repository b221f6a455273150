"""What making small by name misses, a model type a line."""

from typing import Any

OVERRIDES: dict[str, dict[str, Any]] = {
    "reformer": {"is_decoder": True},
}
