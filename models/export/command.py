"""`python -m models export`: a published model in the format that another engine loads; `format` chooses the module."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.config import InputError

FORMATS = ("hf", "gguf")


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Config: model_dir, format, and what models/export/huggingface.py or models/export/gguf.py take."""
    if not config.get("model_dir"):
        raise InputError("export needs model_dir")
    form = config.get("format", "hf")
    if form == "hf":
        from models.export import huggingface

        return huggingface.run(config, out, report)
    if form == "gguf":
        from models.export import gguf

        return gguf.run(config, out, report)
    raise InputError(f"export format must be one of {', '.join(FORMATS)}, got {form!r}")
