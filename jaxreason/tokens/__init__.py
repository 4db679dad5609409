"""Vocabularies: words to ids and back."""

from jaxreason.tokens.maze_vocabulary import MazeVocabulary

__all__ = ["MazeVocabulary"]
