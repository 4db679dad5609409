"""Which rows of a batch a process makes, where rows depend on nothing but their place."""

from jaxreason.errors import InputError


def check_share(share_index: int, share_count: int) -> None:
    """That there is such a share.

    Raises:
        InputError: there is not.
    """
    if share_count < 1:
        raise InputError(f"share_count is {share_count}; it must be at least 1")
    if not 0 <= share_index < share_count:
        raise InputError(
            f"share_index is {share_index}; it must be at least 0 and less than share_count "
            f"({share_count})"
        )


def check_streams(streams: int, share_count: int) -> None:
    """That the streams of packed rows can be divided among the shares.

    Raises:
        InputError: they cannot.
    """
    if streams % share_count:
        raise InputError(
            f"batch.streams is {streams}; it must be a multiple of {share_count}, the number of "
            "shares the processes have: a run goes on with as many processes as divide it (a "
            "single one, with any devices, always does), so set it when a run begins that is to "
            f"grow: --batch.streams {share_count * streams}"
        )


def share_rows(name: str, total: int, share_index: int, share_count: int) -> range:
    """The rows of a share among `total`.

    Args:
        name: of the field that says how many there are, for messages.
        total: rows of a batch, all shares together.
        share_index: which share.
        share_count: number of equal shares.

    Raises:
        InputError: there is no such share, or the rows cannot be split evenly.
    """
    check_share(share_index, share_count)
    if total % share_count:
        raise InputError(
            f"{name} is {total}; it must be a multiple of {share_count}, the number of shares the "
            "processes have"
        )
    size = total // share_count
    return range(share_index * size, (share_index + 1) * size)
