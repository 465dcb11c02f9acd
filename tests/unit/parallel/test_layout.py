"""Where arrays lie, and the errors of meshes that do not fit."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from chainlab.errors import UsageError
from chainlab.parallel import MeshConfig, arrange, unshard
from chainlab.parallel.sharding import leaf_spec


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


MLP = {"params": {"dense0": {"weight": shape(64, 32), "bias": shape(32)}, "dense1": {"weight": shape(32, 10)}}}
STACKED = {"blocks": {"0": {"attention": {"query": {"weight": shape(6, 32, 32)}}, "up": {"weight": shape(6, 32, 64)}}}}
EXPERTS = {"mlp": {"router": {"weight": shape(32, 4)}, "up": {"weight": shape(4, 32, 64)}}}
BATCH = {"x": shape(48, 64), "y": shape(48, dtype=jnp.int32)}
TOKENS = {"x": shape(24, 16, dtype=jnp.int32), "y": shape(24, 16, dtype=jnp.int32)}


def specs(layout, tree):
    return jax.tree.map(lambda sharding: sharding.spec, layout.state(tree))


def test_layers_alternate_between_columns_and_rows():
    found = specs(arrange(MeshConfig(tensor=2, fsdp=4), MLP, BATCH), MLP)["params"]
    assert found["dense0"] == {"weight": P("fsdp", "tensor"), "bias": P("tensor")}
    assert found["dense1"] == {"weight": P("tensor", None)}  # 10 columns are not divisible by 4


def test_stacked_layers_and_experts_have_axes_of_their_own():
    found = specs(arrange(MeshConfig(pipeline=2, fsdp=2, tensor=2), STACKED, TOKENS), STACKED)["blocks"]["0"]
    assert found["up"]["weight"] == P("pipeline", "fsdp", "tensor")
    found = specs(arrange(MeshConfig(expert=2, tensor=2), EXPERTS, TOKENS), EXPERTS)["mlp"]
    assert found["up"]["weight"] == P("expert", None, "tensor")
    assert leaf_spec(("mlp", "router", "weight"), (32, 4), {"expert": 2}, experts=True) == P(None, None)


def test_a_batch_is_divided_by_examples_and_tokens():
    layout = arrange(MeshConfig(data=2, expert=2, sequence=2), EXPERTS, TOKENS)
    assert layout.batch(TOKENS)["x"].spec == P(("data", "expert"), "sequence")
    layout = arrange(MeshConfig(data=2, fsdp=2), MLP, BATCH)
    assert layout.batch(BATCH)["y"].spec == P(("data", "fsdp"))
    assert layout.whole.spec == P()


def test_axes_without_a_use_divide_the_batch():
    layout = arrange(MeshConfig(pipeline=2, sequence=2, expert=2), MLP, BATCH)
    assert layout.idle == ("pipeline", "expert", "sequence")
    assert layout.batch(BATCH)["x"].spec == P(("pipeline", "expert", "sequence"))
    assert all(spec == P() or set(spec) == {None} for spec in jax.tree.leaves(specs(layout, MLP)))


BAD = [
    ({"data": 5}, MLP, BATCH, "data=5 = 5 devices, got 48 examples: choose a batch_size that is a multiple of 5"),
    ({"data": 2, "fsdp": 8}, MLP, BATCH, r"needs 16 devices, found 8 \(cpu\).*--virtual-devices 16"),
    ({"pipeline": 4}, STACKED, TOKENS, "mesh.pipeline=4 does not divide the 6 layers .*wanted one of 1, 2, 3, 6"),
    ({"sequence": 3}, STACKED, TOKENS, "mesh.sequence=3 does not divide sequences of 16 tokens"),
    ({"expert": 3}, EXPERTS, TOKENS, "mesh.expert=3 does not divide the 4 experts"),
    ({"tensor": 7}, MLP, BATCH, "mesh.tensor=7 divides no matrix of this problem"),
    ({"pipeline": 2, "micro_batches": 5}, STACKED, TOKENS, "micro_batches=5 does not divide the 24 examples"),
]


@pytest.mark.parametrize(("sizes", "state", "batch", "message"), BAD)
def test_a_mesh_that_does_not_fit_is_named(sizes, state, batch, message):
    with pytest.raises(UsageError, match=message):
        arrange(MeshConfig(**sizes), state, batch)


def test_every_mistake_at_once():
    with pytest.raises(UsageError) as error:
        arrange(MeshConfig(pipeline=4, sequence=3, data=5), STACKED, TOKENS)
    assert len(str(error.value).splitlines()) == 3


def test_matrices_are_gathered_along_fsdp_and_nothing_else():
    state = {**STACKED, "head": {"weight": shape(32, 64), "bias": shape(64)}}
    with arrange(MeshConfig(fsdp=2, tensor=2), state, TOKENS).use():
        program = jax.make_jaxpr(unshard)({"layer": STACKED["blocks"]["0"]["up"], **state})
        equations = [eqn for eqn in program.eqns if eqn.primitive.name == "sharding_constraint"]
        assert [eqn.params["sharding"].spec for eqn in equations] == [P(None, "tensor"), P(None, None, "tensor")]
        assert [eqn.outvars[0].aval.shape for eqn in equations] == [(32, 64), (6, 32, 64)]  # not those under `blocks`
    with arrange(MeshConfig(data=2, tensor=2), state, TOKENS).use():
        assert not jax.make_jaxpr(unshard)(state).eqns
