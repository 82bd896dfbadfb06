"""How large the grids and how wide the layers of both networks are. Stdlib only.

base_grid((64, 64))         # ((4, 4), 4): 4x4 cells, doubled four times
widths(64, 4)               # [64, 128, 256, 512]: channels at each resolution, from the image inwards
"""

import operator
from collections.abc import Iterable

MAX_WIDTH = 8  # no layer has more than this times `filters` channels, where nothing else is said


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width); of one number both are that. Raises ValueError."""
    try:
        height, width = map(operator.index, size if isinstance(size, Iterable) else (size, size))
    except (TypeError, ValueError):
        raise ValueError(f"expected size to be a side or (height, width), received size={size!r}") from None
    return height, width


def base_grid(size: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """(height, width) -> ((cells down, cells across), doublings): the shorter side starts from 4 to 6 cells,
    and the grid times 2**doublings covers the size."""
    doublings = 0
    while -(-min(size) // 2**doublings) > 6:
        doublings += 1
    return tuple(-(-side // 2**doublings) for side in size), doublings


def widths(filters: int, doublings: int, max_width: int = MAX_WIDTH) -> list[int]:
    """Channels at each resolution from the image's side inwards: 64 filters, 4 doublings -> [64, 128, 256,
    512]."""
    return [filters * min(2**level, max_width) for level in range(doublings)]
