"""Conversion of equations to MathML when the site is built, so that no page loads a renderer."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)


def on_page_content(content: str, **_: object) -> str:
    """Replace the LaTeX equations of a page by MathML."""

    def mathml(match: re.Match[str]) -> str:
        if match[2] == "(":
            return convert(html.unescape(match[3]), display="inline")
        return f'<div class="equation">{convert(html.unescape(match[3]), display="block")}</div>'

    return _EQUATION.sub(mathml, content)
