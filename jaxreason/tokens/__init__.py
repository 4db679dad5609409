"""Vocabularies: words to ids and back."""

from jaxreason.tokens.countdown_vocabulary import CountdownVocabulary
from jaxreason.tokens.maze_vocabulary import MazeVocabulary

__all__ = ["CountdownVocabulary", "MazeVocabulary"]
