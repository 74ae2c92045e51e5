"""Schemas of the tables of what people judged; assets/schemas.py lists them, and what they share stands there."""

from __future__ import annotations

import pyarrow as pa

TAGS = pa.list_(pa.field("element", pa.string()))
MESSAGES = pa.list_(pa.field("element", pa.struct([("role", pa.string()), ("content", pa.string())])))


def labels() -> pa.Schema:
    from assets.schemas import CONTENT_HASH, DOC_ID, SNAPSHOT, field

    return pa.schema(
        [
            DOC_ID,
            SNAPSHOT,
            CONTENT_HASH,
            field("labeller", pa.string(), "name that somebody labels under"),
            field("label", pa.string(), "the newest of theirs on the page: good, bad or unsure"),
            field("tags", TAGS, "free words on the page, lower case, sorted"),
        ]
    )


def labelled_texts() -> pa.Schema:
    from assets.schemas import CONTENT_HASH, DOC_ID, SNAPSHOT, field

    text = field("text", pa.string(), "what the classifier reads of the judged text: its first 32,768 code points")
    return pa.schema([DOC_ID, SNAPSHOT, CONTENT_HASH, text])


def preferences() -> pa.Schema:
    from assets.schemas import field

    return pa.schema(
        [
            field("vote_id", pa.string(), "id of the vote, 32 hex"),
            field("match_id", pa.string(), "id of the pair of answers, 32 hex"),
            field("voter", pa.string(), "name that somebody voted under"),
            field("verdict", pa.string(), "a, b, tie or both_bad; a was shown on the left, without its name"),
            field("messages", MESSAGES, "the conversation that both answered: role and content of each turn"),
            field("chosen", pa.string(), "the answer that was preferred; null: neither"),
            field("rejected", pa.string(), "the other answer; null: neither was preferred"),
            field("text_a", pa.string(), "answer a"),
            field("text_b", pa.string(), "answer b"),
            field("model_a", pa.string(), "digest of the model that wrote answer a"),
            field("model_b", pa.string(), "digest of the model that wrote answer b"),
            field("asset_a", pa.string(), "asset that made model a"),
            field("asset_b", pa.string(), "asset that made model b"),
            field("seed_a", pa.int64(), "seed that answer a was drawn with"),
            field("seed_b", pa.int64(), "seed that answer b was drawn with"),
            field("draw", pa.int64(), "number that decided the pair, the sides and both seeds"),
            field("max_new_tokens", pa.int64(), "longest answer", "tokens"),
            field("temperature", pa.float64(), "of the softmax that answers were drawn from; 0: likeliest token"),
            field("top_k", pa.int64(), "likeliest tokens that could be drawn; 0: all", "tokens"),
            field("top_p", pa.float64(), "share of probability that the drawn ones held together; 1: all", "0..1"),
            field("min_p", pa.float64(), "least probability, as a share of the likeliest token's; 0: any", "0..1"),
        ]
    )
