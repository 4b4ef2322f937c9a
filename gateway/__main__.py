"""`blackstart`: runs the command line and maps errors to exit codes."""

import sys

from drivers.errors import BlackstartError, Fatal, Misconfigured
from gateway.cli import app

__all__ = ("main",)

EXIT_FAILED = 1
EXIT_FATAL = 70  # EX_SOFTWARE: the service manager starts it again
EXIT_CONFIG = 78  # EX_CONFIG: the service manager does not


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except Misconfigured as err:
        _leave(err, EXIT_CONFIG)
    except Fatal as err:
        _leave(err, EXIT_FATAL)
    except BlackstartError as err:
        _leave(err, EXIT_FAILED)


def _leave(err: BlackstartError, code: int) -> None:
    sys.stderr.write(f"blackstart: {err}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
