"""Every guide runs as it stands, at its smallest size, and shows what it says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[2] / "experiments" / "guides"
README = (GUIDES.parents[1] / "README.md").read_text()


def run_guide(name, *arguments, folder):
    """What a guide prints, run by itself in a folder on one device."""
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, GUIDES / name, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("path", sorted(GUIDES.glob("*.py")), ids=lambda path: path.stem)
def test_a_guide_is_one_page_and_the_readme_leads_to_it(path):
    assert len(path.read_text().splitlines()) <= 110
    assert f"experiments/guides/{path.name}" in README


def test_a_made_up_pair_is_as_sparse_as_rounding_makes_it(tmp_path):
    said = run_guide("sparse_pair.py", folder=tmp_path)
    same = float(re.search(r"same bits: ([\d.]+)%", said)[1])
    # Every weight was moved, but most of them by less than bfloat16 can show.
    assert 70 < same < 80
    assert "of full rank: 100.0%" in said


def test_a_diffusion_model_is_trained_judged_and_drawn_with(tmp_path):
    said = run_guide("diffusion_on_mazes.py", "--steps", "2", "--mazes", "2", folder=tmp_path)
    run = tmp_path / "runs/guide-diffusion"
    assert (run / "drawn/draw_solution_0.png").stat().st_size > 500
    assert (run / "evaluation/step-2.json").is_file()
    assert "written to runs/guide-diffusion/evaluation" in said


def test_grpo_ends_in_completions_a_study_and_files_for_other_tools(tmp_path):
    pytest.importorskip("math_verify")
    assert "unchanged weights" in run_guide("grpo_on_your_data.py", folder=tmp_path)
    completions = tmp_path / "runs/guide-grpo/completions"
    assert "--- prompt" in (completions / "rollout-00000000.txt").read_text()
    written = json.loads((tmp_path / "runs/guide-grpo-weights/config.json").read_text())
    assert written["model_type"] == "qwen2"


def test_two_processes_are_followed_by_one(tmp_path):
    said = run_guide("to_a_pod.py", folder=tmp_path)
    assert "2 processes, all on this host" in said
    losses = [float(loss) for loss in re.search(r"losses: (.*)", said)[1].split()]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
