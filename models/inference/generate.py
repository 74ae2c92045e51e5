"""Text from a model directory: a continuation of a prompt, or the assistant's answer in a conversation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.config import InputError
from models.data.chat import Message, prompt_ids
from models.data.tokenizer import END_OF_TEXT_ID, IM_END_ID, load_tokenizer
from models.inference.sampler import generate
from models.training.checkpoint import load_model


def generate_text(
    model_dir: Path,
    prompts: list[str],
    *,
    chat: bool = False,
    max_new_tokens: int = 128,
    temperature: float = 0.8,
    top_k: int = 0,
    seed: int = 0,
) -> list[str]:
    """One text per prompt; the i-th draws with seed + i, so the same call gives the same texts.

    chat: the prompt is a user's turn and the text the assistant's answer. InputError on a prompt that is too long.
    """
    model, _ = load_model(model_dir)
    tokenizer = load_tokenizer(model_dir)
    if chat:
        ids = [prompt_ids([Message(role="user", content=prompt)], tokenizer) for prompt in prompts]
    else:
        ids = [[END_OF_TEXT_ID, *tokenizer.encode(prompt).ids] for prompt in prompts]
    completions = generate(
        model,
        ids,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seeds=[seed + row for row in range(len(prompts))],
        stop_ids={END_OF_TEXT_ID, IM_END_ID},
        top_k=top_k,
    )
    return [tokenizer.decode(completion.ids) for completion in completions]


def run(config: dict[str, Any], out: Path | None, report: Callable[[str], None]) -> dict[str, Any]:
    """The `generate` command: prints to stdout. Config: model_dir, prompt; optional chat, max_new_tokens, temperature,
    top_k, seed."""
    if not config.get("model_dir") or "prompt" not in config:
        raise InputError("generate needs model_dir and prompt")
    options = {key: config[key] for key in ("chat", "max_new_tokens", "temperature", "top_k", "seed") if key in config}
    (text,) = generate_text(Path(config["model_dir"]), [config["prompt"]], **options)
    print(text)
    return {}
