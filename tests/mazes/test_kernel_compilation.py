"""The disk cache of the kernels: never stale, no side effect on other users of numba."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba

from jaxreason.mazes.generators import MazeConfig, generate
from jaxreason.mazes.kernels import compilation, drawing


def test_any_change_of_any_source_moves_the_cache(tmp_path):
    (tmp_path / "caller.py").write_text("one")
    (tmp_path / "called.py").write_text("two")
    before = compilation.cache_directory(tmp_path)
    assert compilation.cache_directory(tmp_path) == before
    (tmp_path / "called.py").write_text("three")
    assert compilation.cache_directory(tmp_path) != before


def test_a_call_leaves_its_compiled_code_in_that_cache():
    generate(MazeConfig(), 0, 0)
    path = drawing.draw_problem.stats.cache_path
    folder = compilation.cache_directory(Path(compilation.__file__).parent)
    assert Path(path).is_relative_to(folder)
    assert list(Path(path).glob("*.nbi"))


def test_numbas_own_setting_is_left_as_it_was():
    before = numba.config.CACHE_DIR

    @compilation.kernel
    def double(value):
        return 2 * value

    assert before == numba.config.CACHE_DIR
    assert double(4) == 8


def test_threads_draw_what_one_thread_draws():
    config = MazeConfig("searchformer", 20, 20)
    alone = [generate(config, 0, index).digest() for index in range(64)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda index: generate(config, 0, index).digest(), range(64)))
    assert together == alone
