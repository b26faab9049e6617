"""The command `bilateral`, installed with the project: every script by a word, from any folder.

    bilateral study dataset=navon num_seeds=3

Each word runs the script named beside it, which takes the rest of the line as if it had been called itself.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from common.settings.arguments import COMPLETION, WITH_VALUE
from common.settings.completion import asked_for
from common.settings.overrides import spelled
from common.settings.paths import expanded
from common.settings.suggestions import closest
from common.system.errors import UserError, run_script

HELP = ("--help", "-h")


class Script(NamedTuple):
    """A script: its module, what it does, and the key or keys that words without ``=`` are the values of."""

    module: str
    help: str
    keys: tuple[str, ...] = ()


SCRIPTS = {
    "study": Script("train_system", "the whole study, or what arms= says of it"),
    "train single": Script("arch_single_head.trainer", "one hemisphere with one head"),
    "train dual": Script("arch_dual_head.trainer", "one or two hemispheres with two heads"),
    "test": Script(
        "arch_dual_head.test", "test a checkpoint: bilateral test CHECKPOINT", ("checkpoint",)
    ),
    "analyse": Script("analyse", "report of a finished study: bilateral analyse RUN", ("run",)),
    "predict": Script(
        "predict",
        "ask a network: bilateral predict CHECKPOINT PICTURE ...",
        ("checkpoint", "image"),
    ),
    "export": Script("export", "write a network as ONNX or torch.export", ("checkpoint",)),
    "prepare folders": Script("data_scripts.prepare_folders", "photographs of your own"),
    "prepare cifar": Script("data_scripts.prepare_cifar", "CIFAR-100, or any set in its format"),
    "prepare navon": Script("data_scripts.make_navon", "draw Navon figures"),
    "prepare textures": Script("data_scripts.make_textures", "draw shapes filled with textures"),
    "prepare index": Script("data_scripts.index_folders", "folders of labelled images"),
}


def find(words: Sequence[str]) -> tuple[str, list[str]]:
    """Split a command line into the name of a script and the rest.

    Raises:
        UserError: there is no such script.
    """
    for name in SCRIPTS:
        length = len(name.split())
        if " ".join(words[:length]) == name:
            return name, list(words[length:])
    said = " ".join(words[:2])
    second = [name for name in SCRIPTS if name.startswith(f"{words[0]} ")]
    if second and (len(words) == 1 or words[1] in HELP):
        raise UserError(
            f"bilateral {words[0]} takes one more word; allowed are {', '.join(second)}."
        )
    near = closest(said, SCRIPTS) or closest(words[0], SCRIPTS)
    hint = f"did you mean bilateral {near[0]}? Allowed" if near else "allowed"
    raise UserError(f"bilateral {said}: {hint} are {', '.join(SCRIPTS)}.")


def as_overrides(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Give words that are no KEY=VALUE and no option those keys that are not given, in order; pictures may be several.

    Raises:
        UserError: more words than keys take.
    """
    plain: list[str] = []
    others: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        value = before in WITH_VALUE  # of an option, such as job of --cfg job
        own = "=" not in word and not word.startswith("-") and not value
        (plain if own else others).append(word)
    given = {word.partition("=")[0] for word in others}
    values = dict(zip([k for k in keys if k not in {"image", *given}], plain, strict=False))
    rest = plain[len(values) :]
    if rest and "image" not in keys:
        raise UserError(f"{rest[0]} is one word too many; keys are given as KEY=VALUE.")
    # One for each: predict.py puts them together, those given as image=... too.
    return [*spelled(values), *others, *(f"image={name}" for name in rest)]


def usage() -> str:
    """What --help prints."""
    width = max(map(len, SCRIPTS))
    lines = [f"  bilateral {name:{width}}  {script.help}" for name, script in SCRIPTS.items()]
    end = "Every one of them answers --help. The scripts of the repository do the same."
    tab = 'Tab completion: eval "$(bilateral -sc install=bash)"'
    return "\n".join(["One command for all scripts:", "", *lines, "", end, tab])


def _module(name: str, arguments: Sequence[str]) -> str:
    """The module that runs a script; of `test` that of the folder in which the checkpoint was trained."""
    if name != "test":
        return SCRIPTS[name].module
    given = [word.partition("=")[2] for word in arguments if word.startswith("checkpoint=")]
    file = expanded(given[0].strip("\"'")) if given else None
    if file is None or not file.is_file():
        return SCRIPTS[name].module  # which says what is missing
    # Imported late: torch takes seconds.
    from common.checkpoints.files import read

    record, _ = read(file)
    return f"{record.folder}.test"


def next_words(line: str) -> list[str] | None:
    """The words of a script's name that a line may go on with; None of a line that names a script already."""
    whole, unfinished = line.rpartition(" ")[::2]
    done = whole.split()[1:]
    names = [name.split() for name in SCRIPTS]
    if any(name == done[: len(name)] for name in names):
        return None
    rest = [name[len(done) :] for name in names if name[: len(done)] == done]
    return [*dict.fromkeys(name[0] for name in rest if name[0].startswith(unfinished))]


def complete(line: str) -> None:
    """Answer a shell that asks how a line may go on: with names of scripts, then as the named script does itself.

    Those that prepare data have options and no keys; of them nothing is said.
    """
    if (names := next_words(line)) is not None:
        print(" ".join(names))
        return
    name, _ = find(line.split()[1:])
    if name.startswith("prepare"):
        return
    named = 1 + len(name.split())
    os.environ["COMP_LINE"] = f"bilateral {''.join(line.split(maxsplit=named)[named:])}"
    import_module(SCRIPTS[name].module).main()


def main() -> None:
    """Run the script that the command line names."""
    words = sys.argv[1:]
    if not words or words[0] in HELP:
        print(usage())
        return
    if (line := asked_for(words)) is not None:
        complete(line)
        return
    if words[0] in COMPLETION:  # to install or uninstall it, which every script of Hydra's can
        import_module(SCRIPTS["study"].module).main()
        return
    modules: list[str] = []

    def choose() -> None:
        name, rest = find(words)
        keys = SCRIPTS[name].keys
        arguments = as_overrides(rest, keys) if keys else rest
        sys.argv = [f"bilateral {name}", *arguments]
        modules.append(_module(name, arguments))

    status = run_script(choose) or import_module(modules[0]).main()
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
