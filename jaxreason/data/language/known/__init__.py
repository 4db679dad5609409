"""The papers' data sets: readers of their published layouts, and where to get them.

Nothing is downloaded; a reader is given what was, by `DataConfig(path=..., known=NAME)`.
"""

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.known.known_set import KnownRecords, KnownSet
from jaxreason.data.language.known.mathematics import GSM8K, MATH, MATH500
from jaxreason.data.language.known.pictured import CLEVR, GEOQA, IMAGENET, LLAVA
from jaxreason.data.language.known.preferences import ULTRAFEEDBACK
from jaxreason.errors import InputError

KNOWN: dict[str, KnownSet] = {
    known.name: known
    for known in (GSM8K, MATH, MATH500, ULTRAFEEDBACK, IMAGENET, LLAVA, GEOQA, CLEVR)
}
"""Name to data set."""


def known_set(name: str) -> KnownSet:
    """A provided data set by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in KNOWN:
        raise InputError(f"data.known is {name!r}; expected one of {', '.join(KNOWN)}")
    return KNOWN[name]


def open_known(config: DataConfig) -> KnownRecords:
    """The records of a provided data set.

    Raises:
        InputError: unknown, no path, a kind it does not have, or another layout; names the file.
        FailureError: a file cannot be read.
    """
    known = known_set(config.known)
    if config.kind not in known.kinds:
        raise InputError(f"data.kind is {config.kind!r}; {known.name} has {', '.join(known.kinds)}")
    for name in ("columns", "answer_mark"):
        if getattr(config, name):
            raise InputError(
                f"data.{name} is {getattr(config, name)!r}, but data.known is {known.name!r}, "
                "which says what the columns mean"
            )
    if not (config.path or config.tfds):
        raise InputError(f"data.path is ''; expected {known.layout}")
    return KnownRecords(known.rows(config), config, known)
