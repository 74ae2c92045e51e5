"""The tokenizer: byte-level BPE trained on the corpus, with a split pattern that every GGUF engine knows as "qwen2".

`python -m models tokenizer` publishes tokenizer.json and tokenizer_config.json (with the chat template). Text is never
parsed for special tokens: their ids are placed by code alone, so a crawled "<|im_end|>" stays ordinary text.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from kernels.tokens.split import QWEN2
from models.artifacts import building, publish, seal, sha256_file
from models.config import InputError
from models.recipes import resolve

if TYPE_CHECKING:
    import pyarrow.parquet as pq

END_OF_TEXT, IM_START, IM_END, PAD = SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
END_OF_TEXT_ID, IM_START_ID, IM_END_ID, PAD_ID = range(4)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of at most `vocab_size` entries (fewer when the text has no more pairs that occur twice).

    Ids: the four special tokens, the 256 bytes, then merges by frequency. The same texts in any order give the same
    tokenizer. Any string decodes back to itself: all bytes are in the vocabulary and nothing is normalised.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise InputError(f"vocab_size must be at least {SMALLEST_VOCABULARY} (special tokens and bytes): {vocab_size}")
    tokenizer = Tokenizer(BPE())
    split = pre_tokenizers.Split(Regex(QWEN2), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(directory: Path | str) -> Tokenizer:
    """The tokenizer of a tokenizer or model directory; special token strings in text are encoded as text."""
    path = Path(directory) / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{directory} holds no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path))
    for expected, token in enumerate(SPECIAL_TOKENS):
        if tokenizer.token_to_id(token) != expected:
            raise InputError(f"{path}: special token {token} must have id {expected}")
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokenizer_sha256(directory: Path | str) -> str:
    """Identity of a tokenizer: the sha256 of its tokenizer.json."""
    return sha256_file(Path(directory) / "tokenizer.json")


def save(tokenizer: Tokenizer, directory: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, readable by transformers' AutoTokenizer."""
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": IM_END,
        "pad_token": PAD,
        "additional_special_tokens": [END_OF_TEXT, IM_START],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def corpus_parquet(files: Iterable[str | Path], columns: list[str]) -> Iterator["pq.ParquetFile"]:
    """The corpus Parquet files in the order given, open; InputError names one that is bad or lacks a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        if not Path(file).is_file():
            raise InputError(f"corpus file {file} does not exist")
        try:
            parquet = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise InputError(f"corpus file {file} is not Parquet: {error}") from error
        if missing := [name for name in columns if name not in parquet.schema_arrow.names]:
            raise InputError(f"corpus file {file} has no column {', '.join(missing)}")
        yield parquet


def corpus_rows(files: Iterable[str | Path], columns: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of the corpus Parquet files in the order given, only `columns`; InputError names a bad file."""
    for parquet in corpus_parquet(files, columns):
        for batch in parquet.iter_batches(columns=columns):
            yield from batch.to_pylist()


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `tokenizer` command. Config: recipe, corpus_files, optional vocab_size (else the recipe's).

    clusters, corpus_snapshots: as `models.data.survivors` says, where it is not trained on every document.
    """
    from models.data.survivors import survivors_of

    files = config.get("corpus_files")
    if not files:
        raise InputError("tokenizer needs corpus_files, a list of Parquet files")
    vocab_size = int(config.get("vocab_size") or resolve(config).vocab_size)
    documents = text_bytes = 0

    def texts() -> Iterator[str]:
        nonlocal documents, text_bytes
        for file, stay in zip(files, survivors_of(config), strict=True):
            for row in corpus_rows([file], ["text"] if stay is None else ["text", "doc_id"]):
                if stay is None or row["doc_id"] in stay:
                    documents += 1
                    text_bytes += len(row["text"].encode())
                    yield row["text"]

    tokenizer = train(texts(), vocab_size)
    if not documents:
        raise InputError("the corpus files hold no document to train a tokenizer on")
    report(f"tokenizer: {tokenizer.get_vocab_size()} entries from {documents} documents, {text_bytes:,} bytes")
    with building(out / "final") as temporary:
        save(tokenizer, temporary)
        identity = {"vocab_size": tokenizer.get_vocab_size(), "documents": documents, "text_bytes": text_bytes}
        identity |= {"pre_tokenizer": "qwen2", "sha256": tokenizer_sha256(temporary)}
        seal(temporary, "tokenizer", identity)
        publish(temporary, out / "final")
    return identity
