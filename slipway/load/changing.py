"""Something that is changed in an environment while the load is on, and what came of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime

from slipway.errors import SlipwayError, UsageError
from slipway.load import during
from slipway.load.model import ENVIRONMENT_CODE, Change
from slipway.promotion import Refused


class Environmental(SlipwayError):
    """The test could not be made; nobody's verdict."""

    exit_code = ENVIRONMENT_CODE


class Changing:
    """A change, made in a thread of its own.

    Args:
        work: Makes it, and says which images must run then; None for nothing.

    Attributes:
        made: The change, when it has ended, well or badly; None for none.
    """

    def __init__(self, work: during.Work | None) -> None:
        self.made: Change | None = None
        self._work, self._afterwards = work, dict[str, str]()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin, once."""
        if self._work and self._thread is None:
            self._thread = threading.Thread(target=self._do, name="load-change", daemon=True)
            self._thread.start()

    def end(self) -> Mapping[str, str]:
        """Which images must run now; nothing when nothing was changed, or the change failed, which it tells itself.

        Raises:
            SlipwayError: There was nothing to change.
        """
        if self._work and self._thread is None:  # the load ended before any of it counted: the change came after it, as it were
            self.made = Change(self._work.kind, _now(), _now())
        if self._thread:
            self._thread.join()
        if self._error:
            raise self._error
        return self._afterwards

    def _do(self) -> None:
        if not self._work:
            return
        begun, failed = _now(), ""
        try:
            self._afterwards = dict(self._work())
        except (UsageError, Refused) as error:  # nothing was changed; told by `end`, in the thread that can act on it
            self._error = error
            return
        except Exception as error:  # it broke under the load, which is what such a test is there to find
            failed = " ".join(str(error).split())[:500] or type(error).__name__
        self.made = Change(self._work.kind, begun, _now(), failed)


def _now() -> float:
    return datetime.now(UTC).timestamp()
