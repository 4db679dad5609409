"""What is known of a published data set, and its rows as our columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxreason.data.language.columns import record_of
from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.messages import column_names
from jaxreason.data.language.reading import Records, open_rows
from jaxreason.data.language.records import Record
from jaxreason.data.language.rows import Rows
from jaxreason.errors import InputError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class KnownSet:
    """A published data set.

    Attributes:
        name: for `DataConfig.known`.
        title: what it is.
        kinds: what its rows can be read as.
        size: examples by split.
        source: where to get it: a repository, or a data set's name on the Hugging Face hub.
        licence: as its publishers say.
        disk: what it takes; "about" where that was not read from the publisher.
        layout: what `DataConfig.path` must be, and which splits there are.
        adapt: from a row, the kind and its place to a row under our names.
        rows: from a configuration to the rows.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    size: str
    source: str
    licence: str
    disk: str
    layout: str
    adapt: Callable[[Row, str, str], Row]
    rows: Callable[[DataConfig], Rows] = open_rows


class KnownRecords(Records):
    """Records of a published layout; see `Records`."""

    def __init__(self, rows: Rows, config: DataConfig, known: KnownSet) -> None:
        super().__init__(rows, config)
        self._known = known

    def read(self, place: int) -> Record:
        """The record at a place."""
        where = self.rows.where(place)
        row = self._known.adapt(self.rows[place], self.config.kind, where)
        return record_of(row, self.config, where)


def need(row: Row, name: str, where: str, data_set: str) -> str:
    """A column that a published data set has as text.

    Raises:
        InputError: it is missing or no text.
    """
    value = row.get(name)
    if not isinstance(value, str):
        columns = column_names(row)
        raise InputError(
            f"{where}: {name} is {type(value).__name__}; expected text as in {data_set} (columns "
            f"here: {columns})"
        )
    return value


def others(row: Row, *names: str) -> dict[str, Any]:
    """The columns of a row besides some."""
    return {name: value for name, value in row.items() if name not in names}
