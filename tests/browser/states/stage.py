"""What a state of the portal is, and what it needs to come about."""

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page

from scripts.throwaway import Portal
from tests.browser.conftest import OpenPage, Watch
from tests.conftest import Cloud

State = Callable[["Stage"], Page]
STATES: dict[str, State] = {}


@dataclass
class Stage:
    """What a state needs to come about."""

    portal: Portal
    empty_portal: Callable[[], Portal]
    sandbox: Cloud
    watch: Watch
    open_page: OpenPage


def state(made: State) -> State:
    STATES[made.__name__.replace("_", " ")] = made
    return made


def page_at(path: str, persona: str = "admin", status: int = 200) -> State:
    """A page that needs nothing but its address."""

    def opened(stage: Stage) -> Page:
        stage.watch.expects(status)
        page = stage.open_page(persona)
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == status, (path, answer.status)
        return page

    return opened
