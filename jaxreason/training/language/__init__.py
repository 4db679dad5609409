"""Post-training of language models on data files: supervised, preferences, reinforcement."""

from jaxreason.lazy import lazy_names

_HOMES = {
    "LanguagePreference": "preference",
    "LanguageReinforcement": "reinforcement",
    "LanguageSupervised": "supervised",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
