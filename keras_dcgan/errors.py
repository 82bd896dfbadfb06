"""What the library says where it cannot take what it was given: which argument, what was expected, what was
received. Stdlib only.

    raise Refused("size", "a height and a width of at least 1", (0, 64))
    # size: expected a height and a width of at least 1, received (0, 64)

A verb writes its flag in the place of the argument: cli.user_errors.
"""

import contextlib
import re
from collections.abc import Callable, Iterator

MENTION = re.compile("\0(\\w+)\0")  # no file name and no number holds a NUL
ABSENT = object()


def argument(name: str) -> str:
    """How a message mentions an argument, so that a verb can write its flag there."""
    return f"\0{name}\0"


def spelled(text: str, name: Callable[[str], str] = str) -> str:
    """`text` with what `name` makes of each argument that it mentions."""
    return MENTION.sub(lambda found: name(found[1]), text)


class _OfArguments(Exception):
    """`argument`: its name, or several names. Without `received` the second is the whole sentence."""

    def __init__(
        self, argument: str | tuple[str, ...], expected: str, received: object = ABSENT, note: str = ""
    ):
        self.arguments = (argument,) if isinstance(argument, str) else argument
        self.problem = expected if received is ABSENT else f"expected {expected}, received {received}{note}"
        super().__init__(self.told(str))

    def __str__(self) -> str:
        return self.told(str)

    def told(self, name: Callable[[str], str], mention: Callable[[str], str] | None = None) -> str:
        """The message, with what `name` makes of each argument's name, and `mention` of those within the sentence."""
        return (
            f"{', '.join(dict.fromkeys(map(name, self.arguments)))}: {spelled(self.problem, mention or name)}"
        )


class Refused(_OfArguments, ValueError):
    """An argument has a value that cannot be taken."""


class Unavailable(_OfArguments, OSError):
    """What an argument names is not there, cannot be read or written, or is in use."""


@contextlib.contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Errors of the enclosed steps name the caller's argument in the place of the callee's:
    renamed(run="init_from")."""
    try:
        yield
    except (Refused, Unavailable) as error:
        error.arguments = tuple(names.get(name, name) for name in error.arguments)
        raise


def counted(number: int, noun: str) -> str:
    """(1, 'image') -> '1 image', (2001, 'image') -> '2,001 images'."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"
