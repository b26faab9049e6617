"""Read the files that describe a data set, with a sentence where one cannot be read."""

from pathlib import Path

from common.system.errors import UserError, nothing_in


def read_text(path: Path) -> str:
    """Read a file that says what is in a data set.

    Raises:
        UserError: it is missing, cannot be read, or is not text.
    """
    if nothing := nothing_in(path):
        raise UserError(f"{path} {nothing}: restore it, or prepare the data set anew")
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets begin a file with a mark
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: data_scripts/prepare_folders.py writes it for your own pictures, "
            "data_scripts/prepare_cifar.py for raw data, data_scripts/index_folders.py for folders of label ids"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8") from None
