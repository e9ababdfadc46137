"""Parameter groups of real models, and the coordinates that control sees of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import optenv
from optenv.control.sketch import sketch_index
from optenv.wrapper.group_sketch import GroupSketch


class Tied(nn.Module):
    """An embedding whose weight is also that of the output layer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.block = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
        self.output = nn.Linear(3, 7)
        self.output.weight = self.embedding.weight


def owned(groups):
    return [id(p) for group in groups for p in group["params"]]


def test_a_layer_is_a_group_and_every_parameter_is_in_exactly_one():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    groups = optenv.layer_groups(model)
    assert [group["name"] for group in groups] == ["0", "2.0", "2.1"]
    assert sorted(owned(groups)) == sorted(map(id, model.parameters()))


def test_a_tied_weight_belongs_to_the_first_module_that_has_it():
    model = Tied()
    groups = optenv.layer_groups(model)
    assert [group["name"] for group in groups] == ["embedding", "block.0", "block.1", "output"]
    assert len(groups[0]["params"]) == len(groups[3]["params"]) == 1
    assert sorted(owned(groups)) == sorted(map(id, model.parameters()))
    torch.optim.SGD(groups, lr=0.1)  # which refuses parameters that appear twice


def test_a_layer_with_nothing_of_its_own_left_is_no_group():
    model = Tied()
    model.output.bias = None
    assert [group["name"] for group in optenv.layer_groups(model)] == ["embedding", "block.0", "block.1"]


def test_frozen_parameters_are_in_no_group():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    (group,) = optenv.layer_groups(model)
    assert group["name"] == "1" and owned([group]) == [id(model[1].weight)]


def test_a_model_with_nothing_to_train_is_one_clear_error():
    with pytest.raises(ValueError, match="layer_groups: expected a model with at least one trainable parameter"):
        optenv.layer_groups(nn.ReLU())


def test_a_bare_module_is_a_group_too():
    assert [group["name"] for group in optenv.layer_groups(nn.Linear(2, 1))] == [""]


@given(st.lists(st.lists(st.integers(1, 2500), min_size=1, max_size=3), min_size=1, max_size=6))
def test_the_sketch_holds_the_coordinates_that_the_batched_trainer_sees(shapes):
    groups = [{"params": [nn.Parameter(torch.randn(size)) for size in sizes]} for sizes in shapes]
    sketch = GroupSketch(groups)
    index, mask = sketch_index([sum(sizes) for sizes in shapes])
    flat = torch.cat([p.detach() for group in groups for p in group["params"]])
    assert torch.equal(sketch.mask, mask)
    assert torch.equal(sketch.weights()[0], flat[index] * mask)


def test_the_sketch_reads_parameters_of_any_memory_layout_and_precision():
    weight = nn.Parameter(torch.randn(6, 4).T)
    half = nn.Parameter(torch.randn(5).to(torch.bfloat16))
    groups = [{"params": [weight]}, {"params": [half]}]
    sketch = GroupSketch(groups)
    assert torch.equal(sketch.weights()[0, 0], weight.detach().reshape(-1))
    assert torch.equal(sketch.weights()[0, 1, :5], half.detach().float())
    assert not sketch.gradient().any()  # there is none yet
