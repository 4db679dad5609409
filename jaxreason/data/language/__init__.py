"""Data for language models and image-text models: records of published formats, as token batches.

Names load on first use.
"""

from jaxreason.lazy import lazy_names

_HOMES = {
    "KINDS": "config",
    "DataConfig": "config",
    "ChatRecord": "records",
    "ImageTextRecord": "records",
    "LabelledRecord": "records",
    "PreferenceRecord": "records",
    "PromptRecord": "records",
    "TextRecord": "records",
    "MixedRecords": "mixtures",
    "read_mixture": "mixtures",
    "Records": "reading",
    "open_records": "reading",
    "read_records": "reading",
    "LanguageSource": "source",
    "PromptSource": "source",
    "language_source": "source",
    "prompt_source": "source",
    "pair_arrays": "pairs",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
