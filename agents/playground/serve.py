"""`python -m agents.playground.serve run app.py`: Streamlit, while what the first pages need is loaded beside it."""

from __future__ import annotations

import sys
import threading


def warm() -> None:
    """Load what the first pages need, and run each of them once, small."""
    from agents.playground.function_settings import FunctionSettings
    from agents.playground.landscape import landscape
    from agents.playground.run_settings import TrainingSettings
    from agents.playground.steering import train
    from optenv.figures.plotly_canvas import plotly_figure

    small = FunctionSettings(optimizers=("adam", "lion"), controllers=("ppo",), iterations=2)
    plotly_figure(landscape(small.run(), view="contour", log=True, colors=small.colors)).to_json()
    list(train(TrainingSettings(steps=2)))


def main() -> int:
    """Serve."""
    from streamlit.web.cli import main as streamlit

    threading.Thread(target=warm, daemon=True, name="playground warm-up").start()
    sys.argv[0] = "streamlit"
    return int(streamlit() or 0)


if __name__ == "__main__":
    sys.exit(main())
