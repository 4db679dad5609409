"""The plain way from mazes to batches: Python generator, text, a dict of words, padded rows.

This is how published maze code feeds a trainer (text files, split at spaces, one padded row per
example), written again here so that the data pipeline has a peer.
"""

import random
from collections.abc import Iterator

import numpy as np
from maze_generation import SIZE, python_search, python_wilson


def words_of(draw: random.Random) -> list[str]:
    """One solved maze as the words of its line."""
    floor, start, goal = python_wilson(draw)
    events, plan = python_search(floor, start, goal)
    words = ["query", "start", str(start[0]), str(start[1]), "goal", str(goal[0]), str(goal[1])]
    for y in range(SIZE):
        for x in range(SIZE):
            if not floor[y][x]:
                words += ["wall", str(x), str(y)]
    words.append("reasoning")
    for kind, x, y, cost, heuristic in events:
        words += ["close" if kind else "create", str(x), str(y), f"c{cost}", f"c{heuristic}"]
    words.append("solution")
    for x, y in plan:
        words += ["plan", str(x), str(y)]
    return [*words, "end"]


def plain_vocabulary() -> dict[str, int]:
    """Word to id."""
    named = ["query", "start", "goal", "wall", "reasoning", "create", "close", "solution"]
    words = ["<pad>", "<bos>", "<eos>", *named, "plan", "end"]
    words += [str(number) for number in range(SIZE)] + [f"c{n}" for n in range(SIZE * SIZE)]
    return {word: place for place, word in enumerate(words)}


def plain_batches(rows: int, length: int, seed: int = 0) -> Iterator[tuple[np.ndarray, int]]:
    """`tokens` int32 [rows, length], one example per row, padded or cut; and its real tokens."""
    draw, ids = random.Random(seed), plain_vocabulary()
    while True:
        tokens, real = np.zeros((rows, length), np.int32), 0
        for row in range(rows):
            text = " ".join(words_of(draw))
            encoded = [ids["<bos>"], *(ids[word] for word in text.split(" ")), ids["<eos>"]]
            encoded = encoded[:length]
            tokens[row, : len(encoded)] = encoded
            real += len(encoded)
        yield tokens, real
