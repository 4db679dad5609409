"""Pieces of a self-contained HTML page: no scripts, no fonts, no addresses, images inside."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

from jaxreason.evaluation.style import DARK, LIGHT, Theme


def escape(text: object) -> str:
    """Text safe inside an element or an attribute."""
    return html.escape(str(text))


def _variables(theme: Theme) -> str:
    colors = {
        "page": "#f4f6f9" if theme.name == "light" else "#0d1117",
        "card": theme.background,
        "text": theme.text,
        "muted": theme.muted,
        "line": theme.grid,
        "other": theme.other,
        **{name.replace("_", "-"): color for name, color in theme.regimes.items()},
    }
    return "".join(f"--{name}:{color};" for name, color in colors.items())


_STYLE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);line-height:1.55;
 font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:44px 22px 72px}
header{margin-bottom:26px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.02em;margin:0 0 8px}
h2{font-size:19px;letter-spacing:-.01em;margin:0 0 4px}
h3{font-size:14px;margin:22px 0 8px}
p{margin:0 0 12px;max-width:76ch}
.lead{color:var(--muted);font-size:16px}
.note{color:var(--muted);font-size:13px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;
 padding:24px 26px;margin:0 0 20px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:16px;
 margin:0 0 20px}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;
 padding:18px 20px 16px;border-top:4px solid var(--c)}
.card b{display:block;font-size:13px;color:var(--c);letter-spacing:.01em}
.card .big{font-size:38px;font-weight:650;letter-spacing:-.03em;line-height:1.2}
.card .big small{font-size:16px;font-weight:400;color:var(--muted);letter-spacing:0}
.card dl{display:grid;grid-template-columns:1fr auto;gap:2px 12px;margin:10px 0 0;font-size:13px}
.card dt{color:var(--muted)}
.card dd{margin:0;text-align:right}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{padding:8px 12px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-size:12.5px;color:var(--muted);font-weight:600;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;padding-left:0}
td:first-child{font-weight:550}
tr:last-child td{border-bottom:0}
table.dense{font-size:13px}
table.dense th,table.dense td{padding:6px 9px}
table.dense th:first-child,table.dense td:first-child{padding-left:0}
table.facts td{text-align:left;white-space:normal;font-weight:400;vertical-align:top;
 font-size:13.5px;min-width:190px;overflow-wrap:anywhere}
table.facts th{text-align:left}
table.facts td:first-child{color:var(--muted);width:190px;white-space:nowrap}
td small,.sub{display:block;color:var(--muted);font-size:12px;line-height:1.35}
.bar{display:block;height:4px;border-radius:2px;background:var(--line);margin:6px 0 5px auto;
 width:120px;overflow:hidden}
.bar i{display:block;height:100%;background:var(--c);border-radius:2px}
.regime{color:var(--c)}
.figure{margin:14px 0 0}
.figure img{width:100%;height:auto;display:block;border-radius:6px}
.split{display:flex;height:10px;border-radius:5px;overflow:hidden;background:var(--line);
 margin:6px 0 6px}
.split i{display:block;height:100%}
.pair{display:inline-block;margin-right:12px;font-size:12px;color:var(--muted)}
.pair i{display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:5px}
details{margin-top:14px}
summary{cursor:pointer;color:var(--muted);font-size:13.5px}
code,pre{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{overflow-x:auto;background:var(--page);border-radius:8px;padding:14px;margin:10px 0 0}
footer{color:var(--muted);font-size:13px;padding:4px 2px}
@media (max-width:640px){main{padding:26px 12px}section{padding:18px 16px}
 .figure{overflow-x:auto}.figure img{width:680px;max-width:none}}
@media print{body{background:#fff}section,.card{break-inside:avoid}}
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole page; follows the reader's light or dark preference."""
    style = (
        f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}{_STYLE}"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def section(title: str, *content: str, note: str = "") -> str:
    """A card with a heading and, under it, a muted note."""
    lead = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{''.join(content)}</section>"


def color_of(regime: str) -> str:
    """The style attribute that gives an element the regime's colour as `--c`."""
    known = regime if regime in LIGHT.regimes else "other"
    return f'style="--c:var(--{known.replace("_", "-")})"'


def regime(name: str, words: str) -> str:
    """Ready HTML words in the regime's colour."""
    return f'<span class="regime" {color_of(name)}>{words}</span>'


def picture(images: Mapping[str, bytes], description: str) -> str:
    """An image in its light and dark version, embedded."""
    light, dark = (
        "data:image/png;base64," + base64.b64encode(images[name]).decode()
        for name in ("light", "dark")
    )
    return (
        '<div class="figure"><picture>'
        f'<source media="(prefers-color-scheme:dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(description)}"></picture></div>'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of ready HTML cells; the first column is left-aligned."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    name = f' class="{kind}"' if kind else ""
    header = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f'<div class="scroll"><table{name}>{header}<tbody>{body}</tbody></table></div>'


def bar(part: float, name: str) -> str:
    """A thin bar filled to a share in the regime's colour."""
    return f'<span class="bar" {color_of(name)}><i style="width:{100 * part:.1f}%"></i></span>'


def split_bar(parts: Mapping[str, float], colors: Sequence[str]) -> str:
    """A bar split in proportion, with its legend in seconds; parts under 0.5 % are left out."""
    total = sum(parts.values()) or 1.0
    shown = [
        (name, value, color)
        for (name, value), color in zip(parts.items(), colors, strict=False)
        if value / total >= 0.005
    ]
    bars = "".join(
        f'<i style="width:{100 * value / total:.2f}%;background:{color}"></i>'
        for _, value, color in shown
    )
    legend = "".join(
        f'<span class="pair"><i style="background:{color}"></i>{escape(name)} {value:,.0f} s</span>'
        for name, value, color in shown
    )
    return f'<div class="split">{bars}</div>{legend}'
