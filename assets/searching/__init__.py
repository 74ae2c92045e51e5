"""Search: which pages of a home have some words, a host or an address, and which of them a slice of scores leaves.

`words.py` says what a word is, in any script; `query.py` reads what people type; `index.py` makes, opens and removes
the full-text index of a shard, `finding.py` asks all of them; `slices.py` is a filter over all that was measured, as an
address and as a query; `snippets.py` finds the pieces of a text to show. Nothing here knows Dagster or a web page.
"""
