"""`optcontrol playground`: the pages in a browser, from a server on this machine alone unless told otherwise."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from agents.arguments import check_numbers
from optenv.errors import OPTIONAL, missing_extra

APP = Path(__file__).with_name("app.py")
NEEDED = ("streamlit", "plotly", "matplotlib", "pytorch_optimizer")


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` the options of the playground's server."""
    parser.add_argument("--port", type=int, default=8501, help="default: %(default)s")
    parser.add_argument("--address", default="localhost", help="0.0.0.0 opens it to others (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser window")
    parser.set_defaults(run=_playground)
    return parser


def command(options: argparse.Namespace) -> list[str]:
    """Return the command that serves the pages; it asks nothing of the network.

    Raises:
      ImportError: if a package of the extra is missing.
    """
    for package in NEEDED:
        if find_spec(package) is None:
            raise missing_extra(OPTIONAL[package][0], "playground", "the playground")
    flags = {
        "server.port": options.port,
        "server.address": options.address,
        "server.headless": str(options.no_browser).lower(),
        "server.showEmailPrompt": "false",
        "server.maxUploadSize": 50,
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "theme.light.primaryColor": "#0072B2",
        "theme.dark.primaryColor": "#2A86C0",
    }
    return [
        sys.executable,
        "-m",
        "agents.playground.serve",
        "run",
        str(APP),
        *(f"--{name}={value}" for name, value in flags.items()),
    ]


def check_port(address: str, port: int) -> None:
    """Check that a server can listen there.

    Raises:
      ValueError: if the address is not one of this machine, or the port taken.
    """
    try:
        socket.create_server((address, port)).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ValueError(
            f"--port {port}, --address {address}: expected a free port of this machine; {reason}"
        ) from None


def _playground(options: argparse.Namespace) -> None:
    check_numbers(options)
    arguments = command(options)
    check_port(options.address, options.port)
    sys.stdout.flush()
    # This process becomes the server, so that none is left behind however it ends, and Ctrl-C ends it. One thread for
    # each run: equal numbers on every machine, and a page that stays quick while runs go on.
    os.execve(sys.executable, arguments, {"OMP_NUM_THREADS": "1", **os.environ})
