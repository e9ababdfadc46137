"""The Gymnasium environment: one inner training run is one episode."""

from optenv.env.scalar_env import OptControlEnv
from optenv.env.vector_env import OptControlVectorEnv

__all__ = ["OptControlEnv", "OptControlVectorEnv"]
