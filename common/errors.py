"""The exceptions for what a person can mend."""


class UserError(Exception):
    """Something a person can mend, said in one sentence: what, where, and what is allowed.

    Commands print the sentence without a traceback and exit with status 1.
    """


class Unfinished(UserError):  # noqa: N818 - a study's state, as its name says
    """A study of which some stages could not be finished; the tables hold the others."""


class StageFailed(UserError):  # noqa: N818 - a stage's state, as its name says
    """A stage that cannot be finished; the others may go on."""
