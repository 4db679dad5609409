"""UltraFeedback, binarized."""

from jaxreason.data.language.known.known_set import KnownSet, Row, others
from jaxreason.data.language.messages import column_names
from jaxreason.errors import InputError


def ultrafeedback(row: Row, kind: str, where: str) -> Row:
    """Of each prompt the best-rated answer and one of the others, as whole conversations."""
    names = ("messages",) if kind == "chat" else ("chosen", "rejected", "prompt")
    for name in names:
        if row.get(name) is None:
            columns = column_names(row)
            raise InputError(
                f"{where}: no {name}; expected the columns of UltraFeedback, binarized (here: "
                f"{columns})"
            )
    if kind == "chat":
        return {"messages": row["messages"]}
    return others(row, "messages")


ULTRAFEEDBACK = KnownSet(
    name="ultrafeedback",
    title="pairs of answers ranked by GPT-4 (arXiv:2310.01377, binarized for arXiv:2310.16944)",
    kinds=("preference", "chat"),
    size="61,135 train_prefs, 2,000 test_prefs",
    source="on the hub HuggingFaceH4/ultrafeedback_binarized; from openbmb/UltraFeedback",
    licence="MIT",
    disk="650 MB with all splits (406 MB train_prefs in memory)",
    layout="the folder of data/*.parquet with split train_prefs or test_prefs (chat: train_sft)",
    adapt=ultrafeedback,
)
