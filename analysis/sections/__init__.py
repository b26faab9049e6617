"""The analyses of the hemispheres: each file holds what is computed, its figure, and its section of the page.

A new analysis is a new file here with a subclass of `analysis.section.Section`; nothing else names it.
"""

from importlib import import_module
from pkgutil import iter_modules

from analysis.section import Findings, Section


def add_sections(found: Findings) -> None:
    """Add a new instance of each analysis in this folder; what a file makes impossible is left out of the report."""
    for name in (module.name for module in iter_modules(__path__)):
        with found.spared(name):
            found.sections += _sections(name)


def _sections(name: str) -> list[Section]:
    module = import_module(f"{__name__}.{name}")
    found = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Section) and one.__module__ == module.__name__
    ]
    for one in found:
        if not isinstance(getattr(one, "order", None), int):
            raise TypeError(f"{one.__name__} gives no order, its place on the page: a whole number")
    return [one() for one in found]
