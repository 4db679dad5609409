"""Imports flow downwards only, and nobody pays for what he does not use."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxreason

ROOT = Path(jaxreason.__file__).parent

# room: the rooms it may import from, besides those of EVERYWHERE
BELOW: dict[str, set[str]] = {
    "mazes": set(),
    "countdown": set(),
    "tokens": {"countdown", "mazes"},
    "data": {"countdown", "mazes", "tokens"},
    "models": {"sharding"},
    "masks": set(),
    "objectives": {"models", "sharding"},
    "rewards": {"countdown", "mazes", "tokens"},
    "sampling": {"models"},
    "sharding": set(),
    "weights": {"models"},
    "training": {
        *("countdown", "data", "masks", "mazes", "models", "objectives"),
        *("rewards", "sampling", "sharding", "tokens", "weights"),
    },
    "analysis": {"masks", "training", "weights"},
    "evaluation": {
        *("analysis", "data", "mazes", "models", "objectives", "rewards"),
        *("sampling", "sharding", "tokens", "training", "weights"),
    },
    "cli": {
        *("analysis", "data", "evaluation", "mazes", "models", "rewards"),
        *("sampling", "sharding", "tokens", "training", "weights"),
    },
}
EVERYWHERE = {"errors", "types", "lazy", "object_store", "paths"}


def imported_modules(path):
    """Absolute names of all modules a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "jaxreason":
                yield from (f"jaxreason.{alias.name}" for alias in node.names)


def rooms():
    return sorted(p.name for p in ROOT.iterdir() if (p / "__init__.py").exists())


def test_every_room_has_its_place():
    assert rooms() == sorted(BELOW)


@pytest.mark.parametrize("room", sorted(BELOW))
def test_a_room_imports_only_from_the_rooms_below(room):
    for path in (ROOT / room).rglob("*.py"):
        for name in imported_modules(path):
            if name.startswith("jaxreason.") and name != "jaxreason.__version__":
                other = name.split(".")[1]
                assert other in BELOW[room] | EVERYWHERE | {room}, f"{path} imports {name}"


@pytest.mark.parametrize(
    ("library", "home"),
    [("flax", {"models"}), ("orbax", {"training"}), ("grain", {"data"}), ("tyro", {"cli"})],
)
def test_a_library_is_used_in_its_own_room_only(library, home):
    users = {
        path.relative_to(ROOT).parts[0]
        for path in ROOT.rglob("*.py")
        for name in imported_modules(path)
        if name.split(".")[0] == library
    }
    assert users <= home


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import jaxreason", {"jax", "numpy", "flax", "numba"}),
        ("from jaxreason.mazes import generate, validate_trace", {"jax", "flax", "grain", "tyro"}),
        ("from jaxreason.tokens import MazeVocabulary", {"jax", "flax", "grain"}),
        ("from jaxreason.data import MazeData, maze_source", {"jax", "grain", "tensorflow"}),
        ("import jaxreason.cli.main", {"jax", "numpy", "tyro"}),
        ("import jaxreason.masks", {"flax", "orbax", "grain", "tensorflow_datasets", "jaxtyping"}),
        ("import jaxreason.models", {"grain", "orbax", "tensorflow_datasets"}),
        ("import jaxreason.training.experiment", {"tensorflow", "torch", "tensorboardX"}),
    ],
)
def test_an_import_does_not_load_what_it_does_not_need(statement, absent):
    loaded = f"set({sorted(absent)!r}) & set(sys.modules)"
    program = f"import sys\n{statement}\nprint(*({loaded}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
