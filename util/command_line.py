"""The entry of scripts: exit status and message for every way to end."""
from __future__ import annotations

import functools
import io
import os
import signal
import sys
import traceback

from util import distributed
from util.errors import UserError


def command_line(main):
    """Make `main()` the entry of a script: a UserError ends it with one line on stderr and exit status 2.

    Its traceback is shown with --verbose, that of other exceptions always. Of several processes only the first one that fails
    prints its error; each leaves the process group in any case. Characters that stdout or stderr cannot encode are escaped.
    """

    @functools.wraps(main)
    def entry():
        _escape_unencodable()
        orderly = False
        try:
            status = main()
            orderly = True
        except KeyboardInterrupt:
            print(f"\n{_program()}: interrupted", file=sys.stderr)
            status = 130
        except BrokenPipeError:  # the reader of stdout ended, as in `... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except Exception as error:
            message = _user_message(error)
            if distributed.is_first_failure(message or str(error)) and message:
                if "--verbose" in sys.argv:
                    traceback.print_exception(error)
                print(f"{_program()}: error: {message}", file=sys.stderr)
            if message is None:
                raise
            status = 2
        finally:
            _leave_process_group(orderly)
        sys.exit(status)

    return entry


def _escape_unencodable() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not so in a notebook
            stream.reconfigure(errors="backslashreplace")


def _program() -> str:
    return os.path.basename(sys.argv[0])


def _user_message(error: Exception) -> str | None:
    """The message of an error that the user can correct; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, (MemoryError, RuntimeError)):
        return _out_of_memory(error) or _lost_process(error)
    return None


def _out_of_memory(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return ("out of memory; lower --batchSize, --loadSize (or --fineSize with a crop) or --ngf, "
                f"or use --precision bf16 ({text.splitlines()[0][:160] if text else 'MemoryError'})")
    return None


def _lost_process(error: RuntimeError) -> str | None:
    """The message about a collective that failed because another process has ended."""
    text = str(error)
    signs = "Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL communicator was aborted"
    if distributed.launched() and any(sign in text for sign in signs):
        return ("another of the processes ended without a word; if the machine ran out of memory, lower --nThreads or use "
                f"fewer processes ({text.splitlines()[0][:160]})")
    return None


def _leave_process_group(orderly: bool) -> None:
    if distributed.launched():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher sends it once another process has ended
        distributed.stop(orderly)
