"""The whole interface in one loop: a hand-written policy steers one training run, drawn step by step."""

import gymnasium

import optenv  # noqa: F401 - registers OptControl-v0


def main(num_inner_steps: int = 200) -> float:
    """Raise the learning rate in the first quarter of the run and lower it in the last; return the total reward."""
    env = gymnasium.make(
        "OptControl-v0",
        task="digits_mlp",
        optimizer="adamw",
        lr=1e-4,
        num_inner_steps=num_inner_steps,
        knobs=("scale",),
        control="relative",
        render_mode="ansi",
    )
    observation, info = env.reset(seed=0)
    total, ended = 0.0, False
    while not ended:
        progress = observation[0]
        action = env.action_space.sample() * 0 + (0.4 if progress < 0.25 else -0.3 if progress > 0.75 else 0.0)
        observation, reward, terminated, truncated, info = env.step(action)
        total, ended = total + float(reward), terminated or truncated
    print(env.render())
    return total


if __name__ == "__main__":
    print(f"log loss fell by {main():.2f} nats")
