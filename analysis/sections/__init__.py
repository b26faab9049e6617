"""The analyses of the hemispheres: each file holds what is computed, its figure, and its section of the page.

A new analysis is a new file here with a subclass of `analysis.section.Section`; nothing else names it.
"""

from importlib import import_module
from pkgutil import iter_modules

from analysis.section import Section


def all_sections() -> list[Section]:
    """A new instance of each analysis in this folder."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return [
        one()
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Section) and one.__module__ == module.__name__
    ]
