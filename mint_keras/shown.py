"""How results show themselves: as a dictionary, as a table in a notebook, as a dataframe where pandas is installed."""

from __future__ import annotations

import dataclasses
import html
from typing import Any


class Shown:
    """A result that is a dataclass.

    Example:
        >>> @dataclasses.dataclass
        ... class Rate(Shown):
        ...     num: int
        ...     of: int
        >>> Rate(1, 4).to_dict()
        {'num': 1, 'of': 4}
        >>> "<td>4</td>" in Rate(1, 4)._repr_html_()
        True
    """

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields by name, as JSON has them."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def rows(self) -> list[dict[str, Any]]:
        """Returns the rows of the table that it is shown as."""
        return [self.to_dict()]

    def to_frame(self) -> Any:
        """Returns the rows as a dataframe.

        Raises:
            ModuleNotFoundError: if pandas is not installed.
        """
        import pandas

        return pandas.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name, '')))}</td>" for name in names) + "</tr>"
            for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
