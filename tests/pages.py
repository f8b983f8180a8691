"""Reads an answer as somebody in front of it would: its words, its links, and its forms as a browser sends them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml.etree import HTMLParser

BLOCKS = {"p", "li", "td", "th", "h1", "h2", "dd", "dt", "div", "tr", "option", "br", "label"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def as_read(text: str) -> str:
    """What a browser makes of a text in a page: it knows one kind of line break, and no NUL."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd")


@dataclass
class Form:
    """A form as it was filled: what a browser would send, and the buttons by their words."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)
    choices: dict[str, dict[str, bool]] = field(default_factory=dict)  # select -> value -> may be chosen


@dataclass
class Link:
    id: str
    href: str
    words: str = ""


class Page:
    """An answer, taken apart: libxml2 reads it, and tells `start`, `data` and `end`."""

    def __init__(self, answer: Any) -> None:
        self.html = answer if isinstance(answer, str) else answer.content.decode()
        self.pieces: list[str] = []
        self.links: list[Link] = []
        self.forms: list[Form] = []
        self.ids: set[str] = set()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self._silent = False  # within what nobody sees
        self._form: Form | None = None
        self._select: tuple[str, list[tuple[str, bool, bool]]] | None = None
        self._button: tuple[str, str] | None = None
        self._button_words = ""
        self._link: Link | None = None
        if self.html.strip():
            parser = HTMLParser(target=self, encoding="utf-8", remove_comments=True, remove_pis=True)
            parser.feed(self.html.encode())
            parser.close()
        self.words = " ".join("".join(self.pieces).split())

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        told = dict(attributes)
        self.tags.append((tag, told))
        if tag not in VOID:
            self._open.append(tag)
        if "id" in told:
            self.ids.add(told["id"])
        self._space(tag)
        match tag:
            case "form":
                self._form = Form(told.get("action", ""))
                if "dialog" not in self._open:  # which stands in every page
                    self.forms.append(self._form)
            case "input" if self._form:
                self._input(self._form, told)
            case "select":
                self._select = (told.get("name", ""), [])
            case "option" if self._select:
                self._select[1].append((told.get("value", ""), "selected" in told, "disabled" in told))
            case "button":
                self._button, self._button_words = (told.get("name", ""), told.get("value", "")), ""
            case "a":
                self._link = Link(told.get("id", ""), told.get("href", ""))
                self.links.append(self._link)
            case "script" | "style" | "template":
                self._silent = True

    def _space(self, tag: str) -> None:
        """What stands apart on the screen stands apart in the words."""
        if tag in BLOCKS:
            self.pieces.append(" ")
        if self._link is not None:
            self._link.words += " "

    def _input(self, form: Form, told: dict[str, str]) -> None:
        kind, name = told.get("type", "text"), told.get("name", "")
        if name and (kind not in ("checkbox", "radio") or "checked" in told):
            form.fields[name] = told.get("value", "on" if kind == "checkbox" else "")

    def end(self, tag: str) -> None:
        if tag in VOID:
            return
        while self._open and self._open.pop() != tag:
            pass
        if self._silent:
            self._silent = not {"script", "style", "template"}.isdisjoint(self._open)
        if tag == "form":
            self._form = None
        elif tag == "select" and self._select and self._form:
            name, options = self._select
            chosen = next((value for value, selected, _ in options if selected), None)
            if chosen is None:
                chosen = next((value for value, _, disabled in options if not disabled), "")
            self._form.fields[name] = chosen
            self._form.choices[name] = {value: not disabled for value, _, disabled in options}
            self._select = None
        elif tag == "button" and self._button is not None:
            if self._form:
                self._form.buttons[" ".join(self._button_words.split())] = self._button
            self._button = None
        elif tag == "a" and self._link is not None:
            self._link.words = " ".join(self._link.words.split())
            self._link = None
        elif self._link is not None:
            self._link.words += " "

    def data(self, data: str) -> None:
        if self._silent:
            return
        self.pieces.append(data)
        if self._button is not None:
            self._button_words += data
        if self._link is not None:
            self._link.words += data

    def close(self) -> None:
        """What libxml2 says last."""

    def form(self, name: str) -> Form:
        """The one form that has a field or a button of this name."""
        found = [
            form for form in self.forms if name in form.fields or any(name == said for said, _ in form.buttons.values())
        ]
        assert len(found) == 1, f"{len(found)} forms have {name}"
        return found[0]

    def href(self, name: str) -> str:
        """Where the link with this id, or else with these words, leads; "" when there is none."""
        for link in self.links:
            if link.id == name:
                return link.href
        return next((link.href for link in self.links if link.words == name), "")

    def attributes(self, **wanted: str) -> dict[str, str]:
        """The attributes of the one element that has all of these."""
        found = [told for _, told in self.tags if all(told.get(name) == value for name, value in wanted.items())]
        assert len(found) == 1, f"{len(found)} elements have {wanted}"
        return found[0]

    @property
    def title(self) -> str:
        return self.html.partition("<title>")[2].partition("</title>")[0]
