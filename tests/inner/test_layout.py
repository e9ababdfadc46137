"""Where parameters lie in the flat vector."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optenv.inner.layout import Layout


def params_of(sizes):
    return {f"layer{g}.{kind}": torch.randn(size) for g, size in enumerate(sizes) for kind in ("weight", "bias")}


layouts = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(lambda sizes: Layout.of(params_of(sizes)))


@given(layouts, st.integers(1, 4))
def test_views_undo_flatten(layout, num_runs):
    runs = [{n: torch.randn(s) for n, s in zip(layout.names, layout.shapes, strict=True)} for _ in range(num_runs)]
    views = layout.views(torch.stack([layout.flatten(run) for run in runs]))
    assert all(torch.equal(views[name], torch.stack([run[name] for run in runs])) for name in layout.names)


@given(layouts, st.integers(1, 4))
def test_spread_repeats_a_groups_value_for_each_of_its_parameters(layout, num_runs):
    values = torch.randn(num_runs, len(layout.groups))
    spread = layout.spread(values)
    assert spread.shape == (num_runs, layout.num_parameters)
    for part, column in zip(spread.split(layout.sizes, dim=1), values.unbind(1), strict=True):
        assert torch.equal(part, column[:, None].expand_as(part))


def test_a_layer_is_a_group_unless_the_model_is_one():
    params = params_of([2, 3])
    assert Layout.of(params).groups == ("layer0", "layer1") and Layout.of(params).sizes == (4, 6)
    assert Layout.of(params, "model").groups == ("model",) and Layout.of(params, "model").sizes == (10,)


def test_a_layer_in_two_places_or_no_parameter_at_all_is_refused():
    with pytest.raises(ValueError, match="layer 'a' side by side; 'a.bias' stands apart"):
        Layout.of({"a.weight": torch.ones(1), "b.weight": torch.ones(1), "a.bias": torch.ones(1)})
    with pytest.raises(ValueError, match="at least one parameter"):
        Layout.of({})
