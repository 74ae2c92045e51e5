"""Opens a table's Delta log, and tells a table that is not there from a store that does not let us in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from assets import schemas
from assets.verified import patiently

if TYPE_CHECKING:
    from deltalake import DeltaTable

T = TypeVar("T")
REFUSALS = ("lacked the necessary privileges", "lacked valid authentication credentials")  # of object_store: 403, 401
KEEP_LOG = {"delta.enableExpiredLogCleanup": "false"}  # else Delta forgets after 30 days which versions there were


class TableMissing(LookupError):
    """The table, or the asked-for snapshot of it, was never committed."""


class LakeRefused(PermissionError):
    """The store that holds the tables does not let us in."""


def opened(root: str, table: str, version: int | None, storage_options: dict[str, str] | None) -> DeltaTable:
    """The table below the root of a lake, as it is or was at a version. Raises TableMissing, LakeRefused."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        if "://" not in root:
            return DeltaTable(f"{root}/lake/{table}", version=version)
        # deltalake asks again for an answer that does not come, not for one that breaks off
        return _steadily(lambda: DeltaTable(f"{root}/lake/{table}", version=version, storage_options=storage_options))
    except TableNotFoundError as error:
        made_by = schemas.TABLES[table].made_by if table in schemas.TABLES else f"the asset {table}"
        raise TableMissing(f"the table {table} is not in {root} yet: {made_by} makes it") from error
    except DeltaError as error:
        if version is None:
            raise
        raise TableMissing(f"the table {table} has no version {version} ({error})") from error
    except OSError as error:
        if not _refused(error):
            raise
        keys = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
        raise LakeRefused(f"{root} does not let us in: look at {keys}") from error


def create(
    root: str, table: str, schema: pa.Schema, partition_by: list[str], storage_options: dict[str, str] | None
) -> None:
    """Makes the table unless it is there."""
    from deltalake import DeltaTable

    def make() -> None:
        uri, options = f"{root}/lake/{table}", {"configuration": KEEP_LOG, "storage_options": storage_options}
        DeltaTable.create(uri, schema, "ignore", partition_by, name=table, **options)  # type: ignore[arg-type]

    make() if "://" not in root else _steadily(make)


def broke_off(error: Exception) -> bool:
    """Whether the way to a store failed: deltalake says so by OSError, or by a DeltaError of its own."""
    return isinstance(error, OSError) or "interacting with object store" in str(error)


def _steadily(action: Callable[[], T]) -> T:
    """The action's result, tried again where the way to the store failed."""
    from deltalake.exceptions import DeltaError

    def once() -> T:
        try:
            return action()
        except DeltaError as error:
            if broke_off(error):
                raise ConnectionError(str(error)) from error
            raise

    return patiently(once, unless=_refused)


def _refused(error: Exception) -> bool:
    return any(said in str(error) for said in REFUSALS)
