"""Bins lie at quantiles of the rows they are given, and numbers and categories become what the papers describe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from rtdl_num_embeddings import compute_bins

from quorate.training.columns import Columns
from quorate.training.number_embeddings import (
    EmbeddedNumbers,
    Embeddings,
    Periodic,
    PiecewiseLinear,
    bin_edges,
    even_edges,
)
from quorate.training.shapes import TableShape


def test_the_edges_are_those_of_the_library_of_the_papers() -> None:
    numbers = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    numbers[:, 1] = np.round(numbers[:, 1])  # a few values, with many ties

    edges = bin_edges(numbers, bins=20)

    for found, expected in zip(edges, compute_bins(torch.from_numpy(numbers), n_bins=20), strict=True):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("column", [[7.0] * 50, [0.0, 1.0] * 25, [0.0] * 49 + [1.0]], ids=["one", "two", "rare"])
def test_a_number_with_a_single_bin_has_no_edges(column: list[float]) -> None:
    assert bin_edges(np.array(column, np.float32)[:, None], bins=4) == ((),)


def test_a_number_is_encoded_by_the_bins_below_it_and_its_place_in_its_own() -> None:
    # given: no linear part, and a map that shows the encoding itself
    embedded = EmbeddedNumbers(PiecewiseLinear(size=3), numbers=2, edges=((0.0, 1.0, 3.0, 7.0), ()))
    with torch.no_grad():
        embedded.embedding.linear0.weight.zero_()
        embedded.embedding.linear0.bias.zero_()
        embedded.embedding.linear.weight.copy_(torch.eye(3))

    encoded = embedded(torch.tensor([[2.0, 9.0], [5.0, 8.0], [-1.0, 0.0]]))

    # then: by hand, equation 1 of the paper; the number without bins follows unchanged
    expected = [[1, 0.5, 0, 9], [1, 1, 0.5, 8], [-1, 0, 0, 0]]
    assert encoded.detach().numpy() == pytest.approx(np.array(expected, float))
    assert embedded.chunks == [3, 1]


def test_a_network_on_the_device_meta_has_the_parameters_of_one_on_the_cpu() -> None:
    shape = TableShape(3, (4, 5), ((0.0, 1.0, 2.0), (), (0.0, 0.5, 1.0, 2.0)))

    with torch.device("meta"):
        planned = Columns(shape, PiecewiseLinear(size=2))

    made = Columns(shape, PiecewiseLinear(size=2))
    assert {name: tensor.shape for name, tensor in planned.state_dict().items()} == {
        name: tensor.shape for name, tensor in made.state_dict().items()
    }
    assert all(tensor.device.type == "meta" for tensor in planned.state_dict().values())


@pytest.mark.parametrize("embedding", [None, PiecewiseLinear(size=3, bins=4), Periodic(size=3)])
def test_the_chunks_add_up_to_the_width_of_the_columns(embedding) -> None:
    shape = TableShape(2, (4, 90), even_edges(2, 4))
    columns = Columns(shape, embedding, one_hot=64)

    out = columns(torch.tensor([[0.1, 0.2, 3.0, 89.0]]))

    assert out.shape == (1, columns.width) and sum(columns.chunks) == columns.width
    assert columns.chunks[:2] == ([1, 1] if embedding is None else [3, 3])
    assert columns.chunks[2] == 3, "the codes without that of unknown categories"


def test_an_unknown_category_is_all_zeros() -> None:
    columns = Columns(TableShape(0, (4,)), one_hot=64)

    assert columns(torch.tensor([[0.0], [1.0], [2.0], [3.0]])).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("none", None),
        (None, None),
        ("periodic", Periodic()),
        ({"kind": "piecewise_linear", "bins": 7}, PiecewiseLinear(bins=7)),
    ],
)
def test_the_name_alone_or_a_mapping_names_an_embedding(given, expected) -> None:
    assert TypeAdapter(Embeddings).validate_python(given) == expected


@pytest.mark.parametrize("given", ["fourier", {"bins": 3}, {"kind": "periodic", "bins": 3}])
def test_what_is_not_an_embedding_is_refused(given) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Embeddings).validate_python(given)
