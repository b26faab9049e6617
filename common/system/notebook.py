"""What a notebook shows."""

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A figure that a notebook draws, also where nobody has asked for pyplot, which alone would teach it to."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", bbox_inches="tight")
        return file.getvalue()
