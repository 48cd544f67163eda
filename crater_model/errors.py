"""The errors that a person is meant to read.

Every error that bad input, a wrong setting or a missing part can cause is a
`CraterError`, whose text is one line that names the file, image or record, what
was found, what was expected, and the fix. The command line prints that line and
exits with 1; a traceback means a defect of ours.
"""


class CraterError(Exception):
    """Something the user can put right; the text is one clear line."""


class DataError(CraterError):
    """Images, labels or records that cannot be used as they are."""


class DataProblems(DataError):
    """Several things that are wrong with data; `problems` has a line for each.

    The text itself is the first of them, how many more there are, and what to do.
    """

    def __init__(self, problems, fix: str):
        self.problems, self.fix = list(problems), fix
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(f"{self.problems[0]}{more}; {fix}")


class ConfigError(CraterError):
    """An experiment, a setting or a parameter that is unknown or out of range."""


class ServingError(CraterError):
    """A server that does not answer, or answers with an error."""


class VersionGone(ServingError):
    """The version of a model that a piece of work began with is not served any more."""
