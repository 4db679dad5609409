"""Tables of benchmarks for the terminal."""

from typing import Any

from rich.table import Table

from jaxreason.evaluation.benchmarks.scoring import RULES
from jaxreason.evaluation.benchmarks.settings import BENCHMARKS, SETTINGS, Setting
from jaxreason.evaluation.statistics import Share


def plain_table(*columns: str) -> Table:
    """A table without lines; all columns but the first are for numbers."""
    table = Table(
        header_style="dim",
        box=None,
        pad_edge=False,
        expand=False,
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", overflow="fold")
    return table


def shots_text(setting: Setting) -> str:
    """Solved examples in words."""
    if not setting.shots:
        return "0"
    where = {"drawn": "drawn", "first": "first"}.get(setting.pick, "fixed")
    return f"{setting.shots} {where}"


def diffusion_text(setting: Setting) -> str:
    """Decoding of diffusion models in words."""
    if not setting.generates:
        return "bound"
    return f"{setting.steps} steps, blocks of {setting.block}" if setting.block else "–"


def settings_lines() -> list[str]:
    """`jaxreason benchmark list`: every benchmark and setting."""
    lines = []
    for benchmark, words in BENCHMARKS.items():
        lines += ["", f"{benchmark}: {words}"]
        for setting in (s for s in SETTINGS if s.benchmark == benchmark):
            ways = " / ".join(f"{metric} ({RULES[metric]})" for metric in setting.metrics)
            length = f"up to {setting.new_tokens} tokens" if setting.generates else "choices"
            heat = "greedy" if setting.temperature == 0 else f"temperature {setting.temperature:g}"
            lines += [
                f"  {setting.name}",
                f"    examples  {shots_text(setting)}; prompt {setting.prompt}; {length}; {heat}",
                f"    diffusion {diffusion_text(setting)}",
                f"    judged by {ways}",
                f"    source    {setting.source}",
            ]
            if setting.until:
                lines.insert(-1, f"    ends at   {', '.join(map(repr, setting.until))}")
    return lines[1:]


def setting_words(document: dict[str, Any]) -> str:
    """Benchmark and setting of a result, with what is not as published."""
    setting, changed = document["identity"]["settings"], document["identity"]["changed"]
    words = f"{document['benchmark']}, settings {document['setting']}"
    if not changed:
        return words
    return f"{words}, but {', '.join(f'{name} {setting[name]}' for name in changed)}"


def result_table(document: dict[str, Any]) -> Table:
    """One result: metrics and, where there are subjects, the headline of each."""
    table = plain_table("", "% correct", "answers")
    for metric, share in document["metrics"].items():
        table.add_row(metric, Share(**share).text(), f"{share['n']:,}")
    for subject, share in document["subjects"].items():
        table.add_row(f"  {subject}", Share(**share).text(), f"{share['n']:,}", style="dim")
    return table
