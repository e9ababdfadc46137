"""The hand-written networks compute what torch's modules compute."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from optenv import tasks
from optenv.tasks import layers
from optenv.tasks.mlp import ACTIVATIONS, Mlp
from optenv.tasks.real import characters
from optenv.tasks.synthetic import quadratic, sampling


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_char_gru_is_torchs_gru():
    task = tasks.get("char_gru")
    params, (windows,) = task.init(seeded()), task.draw(seeded()).valid
    reference = nn.GRU(characters.EMBEDDING, characters.STATE, batch_first=True)
    own = {f"{name}_l0": params[f"gru.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    reference.load_state_dict(own)
    states, _ = reference(params["embedding.weight"][windows[:, :-1]])
    logits = F.linear(states, params["output.weight"], params["output.bias"])
    expected = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
    torch.testing.assert_close(task.loss(params, (windows,)), expected)


@pytest.mark.parametrize("name", ["char_gru", "char_transformer"])
def test_character_models_start_near_a_uniform_guess(name):
    task = tasks.get(name)
    loss = task.loss(task.init(seeded()), task.draw(seeded()).valid)
    assert abs(loss - torch.tensor(len(characters.ALPHABET)).log()) < 1


def test_the_transformer_does_not_look_ahead():
    params = tasks.get("char_transformer").init(seeded())
    x = torch.randn(2, characters.CONTEXT, characters.WIDTH, generator=seeded())
    changed = torch.cat([x[:, :20], x[:, 20:] + 1], 1)
    before, after = (characters.attention(params, "block0.", y) for y in (x, changed))
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


def test_training_and_validation_text_do_not_overlap():
    data = characters.load()
    assert data.train[0].shape[1] == data.valid[0].shape[1] == characters.CONTEXT + 1
    assert data.train[0].max() < len(characters.ALPHABET)
    seen = set(map(tuple, data.train[0].tolist()))
    repeated = sum(window in seen for window in map(tuple, data.valid[0].tolist()))
    assert repeated < len(data.valid[0]) / 4  # source code repeats phrases


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_perceptron_is_torchs_sequential(activation):
    mlp = Mlp(5, (8, 8), 3, activation=activation, norm="layer", normed=1)
    params, x = mlp.init(seeded()), torch.randn(7, 5, generator=seeded(1))
    act = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    reference = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), act(), nn.Linear(8, 8), act(), nn.Linear(8, 3))
    reference.load_state_dict(dict(zip(reference.state_dict(), params.values(), strict=True)))
    torch.testing.assert_close(mlp.apply(params, x), reference(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_perceptron_counts_its_groups_and_parameters(activation):
    mlp = Mlp(5, (8, 8, 8), 3, activation=activation, norm="batch", normed=2, residual=True, zero_last=True)
    params = mlp.init(seeded())
    assert len(tasks.group_names(params)) == mlp.num_groups
    assert sum(value.numel() for value in params.values()) == mlp.num_params
    assert not params["output.weight"].any()


def test_layers_start_as_torchs_do():
    """The bounds of uniform draws are within one percent of 1 / sqrt(fan in) at this size."""
    params = layers.init_linear(seeded(), "own", 100, 400, gain=1.0)
    assert 0.099 < params["own.weight"].max() <= 0.1
    assert -0.1 <= params["own.weight"].min() < -0.099
    convolution = layers.init_conv(seeded(), "own", 4, 200, kernel=5)
    assert 0.099 < convolution["own.weight"].max() <= 0.1


def test_batch_norm_uses_the_batch_at_hand():
    x = torch.randn(32, 4, 5, 5, generator=seeded()) * 3 + 2
    y = layers.batch_norm(layers.init_norm("norm", 4), "norm", x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((0, 2, 3)), torch.ones(4), atol=1e-2, rtol=0)


def test_cross_entropy_is_torchs():
    logits, target = torch.randn(6, 4, 9, generator=seeded()), torch.randint(9, (6, 4), generator=seeded())
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    torch.testing.assert_close(layers.cross_entropy(logits, target), expected)


@pytest.mark.parametrize("index", range(16))
def test_a_quadratics_validation_loss_is_zero_exactly_where_its_gradient_is(index):
    task = tasks.get(f"quadratic:{index}")
    rows, targets = task.draw(seeded()).valid
    minimum = torch.linalg.lstsq(rows.flatten(0, 1).double(), targets.flatten().double()[:, None]).solution[:, 0]
    params = {f"block{k}.weight": part for k, part in enumerate(minimum.float().tensor_split(task.blocks))}
    start = task.loss(task.init(seeded(1)), (rows, targets))
    assert 0 <= task.loss(params, (rows, targets)) < 1e-8 * start


def test_a_noisy_quadratics_minibatches_agree_with_its_validation_set_on_average():
    task = quadratic.Quadratic("own", size=5, blocks=2, examples=200_000, noisy=False, batch_size=16)
    data, params = task.draw(seeded()), task.init(seeded(1))
    # The mean of 2e5 squares has a relative error of about sqrt(2 / 2e5) = 0.003.
    torch.testing.assert_close(task.loss(params, data.train), task.loss(params, data.valid), rtol=0.02, atol=0)


def test_rotations_keep_lengths():
    x = sampling.normal(seeded(), 10, 7)
    torch.testing.assert_close(sampling.rotate(seeded(1), x).norm(dim=1), x.norm(dim=1))


@pytest.mark.parametrize("index", range(0, 16, 3))
def test_a_teacher_can_be_learned_until_the_loss_has_fallen_by_decades(index):
    task = tasks.get(f"teacher_student:{index}")
    data, params = task.draw(seeded()), task.init(seeded(1))
    leaves = [value.requires_grad_() for value in params.values()]
    optimizer, steps = torch.optim.Adam(leaves, lr=1e-2), 500
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    before = task.loss(params, data.valid).item()
    for step in range(steps):
        rows = torch.randint(len(data.train[0]), (task.batch_size,), generator=seeded(step))
        optimizer.zero_grad()
        task.loss(params, tuple(t[rows] for t in data.train)).backward()
        optimizer.step()
        schedule.step()
    assert task.loss(params, data.valid).item() < 0.05 * before
