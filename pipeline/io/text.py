"""Text from elsewhere (arguments, file names, other libraries' errors), made fit for its place."""


def one_line(text: str) -> str:
    r"""Text that a terminal shows as one line: what is no letter, sign or blank is escaped.

    So are the bytes of a file name that is not UTF-8 (``\udcff``), which no terminal prints.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def escaped(text: str) -> str:
    """Text that a terminal shows as the lines it is: all but ends of lines as ``one_line``."""
    if text.isprintable():
        return text
    return "\n".join(map(one_line, text.split("\n")))


def whole_number(text: str) -> int | None:
    """The number that ASCII digits stand for, at most nine; None of anything else, such as ².

    ``str.isdigit`` knows digits that ``int`` does not, and ``int`` knows longer ones than a store.
    """
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if is_number else None


def storable(text: str) -> str:
    r"""Text that a column of either database takes: UTF-8, and no NUL in PostgreSQL."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
