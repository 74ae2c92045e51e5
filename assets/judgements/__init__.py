"""What people say of pages and of answers: the stores of labels and votes, and what counts of them.

Knows nothing of Dagster. `said.py` is what a label may be, `store.py` keeps every one, `standing.py` says what counts,
`pages.py` finds the pages that are to be labelled, `lines.py` brings labels in and out as files; `votes.py` keeps blind
votes, `appending.py` is the file under both.
"""
