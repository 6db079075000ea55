"""What a page is made of, as a parser sees it."""

from __future__ import annotations

from html.parser import HTMLParser


class Parts(HTMLParser):
    """Tags, attributes, scripts and text of a page.

    Attributes:
        attributes: (tag, name) of all.
        values: (name, value) of all.
        scripts: text of each.
        text: everything else that is shown.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.attributes: set[tuple[str, str]] = set()
        self.values: set[tuple[str, str]] = set()
        self.scripts: list[str] = []
        self.text = ""
        self._in_script = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        self.scripts += [""] * self._in_script
        self.attributes |= {(tag, ""), *((tag, name) for name, _ in attrs)}
        self.values |= {(name, value or "") for name, value in attrs}

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data

    def handle_comment(self, data: str) -> None:
        self.attributes.add(("comment", ""))

    @property
    def active_values(self) -> set[tuple[str, str]]:
        """Attributes that a browser acts on: addresses, styles, handlers of events."""
        return {
            (name, value)
            for name, value in self.values
            if name.startswith("on") or name in ("href", "xlink:href", "src", "srcdoc", "style", "action")
        }
